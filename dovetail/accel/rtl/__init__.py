"""The overlay as Verilog-2005: one unit a file, each of which writes one module."""
