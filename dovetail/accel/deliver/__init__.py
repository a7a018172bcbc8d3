"""The folder of an accelerator: Verilog, image of memory, test bench, and a Makefile that decodes text with them."""
