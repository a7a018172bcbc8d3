"""ReRAM crossbars: weights cut into slices of cells, arrays and converters simulated, LLM layers mapped to them."""
