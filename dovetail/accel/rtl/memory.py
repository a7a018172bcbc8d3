"""Memory with one port to write and one to read."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// One write port, one read port. Data read appear after the clock edge, and stay while `read` is low.
module memory #(parameter WIDTH = 8, ADDRESS = 4) (
    input  wire               clk,
    input  wire               write,
    input  wire [ADDRESS-1:0] write_address,
    input  wire [WIDTH-1:0]   write_data,
    input  wire               read,
    input  wire [ADDRESS-1:0] read_address,
    output reg  [WIDTH-1:0]   read_data
);
    reg [WIDTH-1:0] words [0:(1 << ADDRESS)-1];
    always @(posedge clk) begin
        if (write) words[write_address] <= write_data;
        if (read) read_data <= words[read_address];
    end
endmodule
"""


def memory(shape: Shape) -> str:
    """The module `memory`."""
    return fill(TEXT, shape)
