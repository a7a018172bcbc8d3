"""The overlay's Verilog run in Verilator, against a model of memory, beside the golden model."""
