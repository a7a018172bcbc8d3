"""Sums to the format of a vector: multiplier, rounded shift, bias, residual add, saturation. One lane a column."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// saturate(round_shift(sum * mantissa, shift) + bias + add), three cycles after its inputs.
module requantise (
    input  wire        clk,
    input  wire [31:0] sum,        // signed
    input  wire [16:0] mantissa,   // 15 bits of a multiplier, or 17 of a reciprocal
    input  wire [5:0]  shift,
    input  wire [23:0] bias,       // signed, as are `add` and `result`
    input  wire [23:0] add,
    input  wire [1:0]  width,      // of the result: 0 for 8 bits, 1 for 16, 2 for 24
    output reg  [23:0] result
);
    reg signed [49:0] product;
    reg signed [49:0] shifted;
    reg [5:0]  shift_1;
    reg [1:0]  width_1, width_2;
    reg signed [24:0] rest_1, rest_2;
    wire signed [49:0] almost = (shift_1 == 6'd0) ? product : product >>> (shift_1 - 6'd1);
    wire signed [50:0] total = {shifted[49], shifted} + {{26{rest_2[24]}}, rest_2};
    wire signed [50:0] top = (width_2 == 2'd0) ? 51'sd127 : (width_2 == 2'd1) ? 51'sd32767 : 51'sd8388607;
    wire signed [50:0] bottom = (width_2 == 2'd0) ? -51'sd127 : (width_2 == 2'd1) ? -51'sd32768 : -51'sd8388608;
    always @(posedge clk) begin
        product <= $signed({{18{sum[31]}}, sum}) * $signed({33'd0, mantissa});
        shift_1 <= shift;
        width_1 <= width;
        rest_1  <= {bias[23], bias} + {add[23], add};
        shifted <= (shift_1 == 6'd0) ? product : (almost + 50'sd1) >>> 1;
        width_2 <= width_1;
        rest_2  <= rest_1;
        result  <= (total > top) ? top[23:0] : (total < bottom) ? bottom[23:0] : total[23:0];
    end
endmodule
"""


def requantise(shape: Shape) -> str:
    """The module `requantise`."""
    return fill(TEXT, shape)
