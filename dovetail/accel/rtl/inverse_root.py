"""The inverse root of a sum of squares."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// 1 / sqrt(x) is about mantissa / 2^(15 + half): a table and one step of Newton's method, five cycles after `start`.
module inverse_root (
    input  wire        clk,
    input  wire        start,
    input  wire [62:0] x,
    output reg         valid,
    output reg  [16:0] mantissa,
    output reg  [4:0]  half
);
    reg [5:0] bits;
    integer i;
    always @* begin
        bits = 6'd0;
        for (i = 0; i < 63; i = i + 1) if (x[i]) bits = i[5:0] + 6'd1;
    end
    wire [6:0] half_bits = ({1'b0, bits} + 7'd1) >> 1;
    wire [6:0] even = {half_bits[5:0], 1'b0};
    wire [62:0] cut = (even >= 7'd16) ? x >> (even - 7'd16) : x << (7'd16 - even);
    reg [15:0] m;
    wire [15:0] seed;
    root_table table_ (.index(m[15:8] - 8'd64), .value(seed));
    reg [15:0] seed_2;
    reg [16:0] a_3;
    reg [31:0] square, product;
    reg [4:0] going;
    wire [32:0] better = {17'd0, seed_2} * (33'd98304 - {17'd0, product[31:16]});
    always @(posedge clk) begin
        going <= {going[3:0], start};
        if (start) begin
            m <= cut[15:0];
            half <= half_bits[4:0];
        end
        seed_2 <= seed;
        square <= {16'd0, seed_2} * {16'd0, seed_2};
        a_3 <= square[31:15];
        product <= {16'd0, m} * {15'd0, a_3};
        valid <= going[4];
        mantissa <= better[32:16];
    end
endmodule
"""


def inverse_root(shape: Shape) -> str:
    """The module `inverse_root`."""
    return fill(TEXT, shape)
