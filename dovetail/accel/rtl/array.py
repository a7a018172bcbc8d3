"""The array: rows x columns cells, each of which adds the products of some lanes to its sum in every cycle."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

CELL = """
// A sum of 32 bits and the products of LANES pairs of bytes that are added to it in a cycle.
module cell_ #(parameter LANES = @LANES) (
    input  wire               clk,
    input  wire               enable,
    input  wire               first,    // these products begin a sum
    input  wire               last,     // these products end it: the sum goes to `result`
    input  wire [LANES*8-1:0] weights,
    input  wire [LANES*8-1:0] operands,
    output reg  [31:0]        result
);
    reg signed [31:0] sum;
    reg signed [31:0] next;
    integer i;
    always @* begin
        next = first ? 32'sd0 : sum;
        for (i = 0; i < LANES; i = i + 1)
            next = next + $signed({{24{weights[i*8+7]}}, weights[i*8 +: 8]})
                        * $signed({{24{operands[i*8+7]}}, operands[i*8 +: 8]});
    end
    always @(posedge clk) if (enable) begin
        sum <= next;
        if (last) result <= next;
    end
endmodule
"""

ARRAY = """
// Rows share a word of weights (one slice of LANES bytes to a column), columns share the rows' operands.
module array #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       enable,
    input  wire                       first,
    input  wire                       last,
    input  wire [COLUMNS*LANES*8-1:0] weights,
    input  wire [ROWS*LANES*8-1:0]    operands,
    output wire [ROWS*COLUMNS*32-1:0] results
);
    genvar r, c;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : row
            for (c = 0; c < COLUMNS; c = c + 1) begin : column
                cell_ #(.LANES(LANES)) cell_ (
                    .clk(clk), .enable(enable), .first(first), .last(last),
                    .weights(weights[c*LANES*8 +: LANES*8]),
                    .operands(operands[r*LANES*8 +: LANES*8]),
                    .result(results[(r*COLUMNS + c)*32 +: 32])
                );
            end
        end
    endgenerate
endmodule
"""


def cell(shape: Shape) -> str:
    """The module `cell_` (``cell`` is a word of Verilog)."""
    return fill(CELL, shape)


def array(shape: Shape) -> str:
    """The module `array`."""
    return fill(ARRAY, shape)
