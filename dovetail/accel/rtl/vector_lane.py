"""One lane of the vector unit: less the mean, norm, rotary, gate, product."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// One lane, eleven stages: less the mean, norm, rotary, gate, product. What is off hands its input on.
module vector_lane (
    input  wire        clk,
    input  wire [23:0] source,       // stage 1; all values are signed
    input  wire [23:0] mean,
    input  wire        square,       // stage 2: multiply by itself
    input  wire [16:0] root,
    output wire [47:0] product,      // stage 3
    input  wire [4:0]  root_shift,
    input  wire        norm,
    input  wire [15:0] weight,       // stage 4
    input  wire [5:0]  weight_shift,
    input  wire [23:0] bias,         // stage 5
    output wire [15:0] normed,       // stage 6
    input  wire [15:0] partner,      // the other channel of the pair
    input  wire        rotate,
    input  wire        odd,
    input  wire [31:0] angle,        // sine, cosine
    input  wire [1:0]  gate,         // 0 none, 1 by the table, 2 the larger of 0 and x
    input  wire [5:0]  gate_shift,
    input  wire        multiply,
    input  wire [15:0] second,       // stage 10
    input  wire [5:0]  multiply_shift,
    output reg  [23:0] result        // stage 11
);
    // stage 1
    wire signed [24:0] centred = {source[23], source} - {mean[23], mean};
    wire over_1 = centred[24] != centred[23];
    reg signed [23:0] x_2, x_3, x_4, x_5, x_6;
    // stage 2
    wire signed [23:0] factor = square ? x_2 : {7'd0, root};
    reg signed [47:0] p_3;
    assign product = p_3;
    // stage 3
    wire signed [47:0] half_3 = (root_shift == 5'd0) ? p_3 : p_3 >>> (root_shift - 5'd1);
    wire signed [47:0] unit = (root_shift == 5'd0) ? p_3 : (half_3 + 48'sd1) >>> 1;
    reg signed [23:0] u_4;
    // stage 4
    reg signed [39:0] v_5;
    // stage 5
    wire signed [39:0] half_5 = (weight_shift == 6'd0) ? v_5 : v_5 >>> (weight_shift - 6'd1);
    wire signed [39:0] scaled = (weight_shift == 6'd0) ? v_5 : (half_5 + 40'sd1) >>> 1;
    wire signed [39:0] biased = scaled + {{16{bias[23]}}, bias};
    wire [15:0] sixteen = (biased > 40'sd32767) ? 16'h7fff : (biased < -40'sd32768) ? 16'h8000 : biased[15:0];
    assign normed = x_6[15:0];
    // stage 6
    wire signed [32:0] by_cosine = $signed({{17{x_6[15]}}, x_6[15:0]}) * $signed({{17{angle[15]}}, angle[15:0]});
    wire signed [32:0] by_sine = $signed({{17{partner[15]}}, partner}) * $signed({{17{angle[31]}}, angle[31:16]});
    wire signed [32:0] turned = odd ? by_cosine + by_sine : by_cosine - by_sine;
    wire signed [32:0] near = (turned + 33'sd8192) >>> 14;
    wire [15:0] rotated = (near > 33'sd32767) ? 16'h7fff : (near < -33'sd32768) ? 16'h8000 : near[15:0];
    reg signed [23:0] x_7, x_8, x_9, x_10;
    // stage 7
    wire [16:0] size = x_7[15] ? {1'b0, ~x_7[15:0]} + 17'd1 : {1'b0, x_7[15:0]};
    wire [32:0] u = {size, 16'd0} >> gate_shift;
    wire [31:0] entry;
    gate_table table_ (.index(u[15:8]), .value(entry));
    reg [31:0] entry_8;
    reg [7:0]  fraction_8;
    reg        above_8;
    // stage 8
    wire signed [25:0] line = $signed({{10{entry_8[31]}}, entry_8[31:16]}) * $signed({18'd0, fraction_8});
    wire signed [25:0] line_near = (line + 26'sd128) >>> 8;
    wire [15:0] inside = above_8 ? 16'd32768 : entry_8[15:0] + line_near[15:0];
    reg [15:0] g_9;
    // stage 9
    wire signed [32:0] gated = $signed({{17{x_9[15]}}, x_9[15:0]}) * $signed({17'd0, g_9});
    wire signed [32:0] gated_near = (gated + 33'sd16384) >>> 15;
    wire [15:0] gate_result = (gated_near > 33'sd32767) ? 16'h7fff : gated_near[15:0];
    wire [23:0] positive = x_9[23] ? 24'd0 : x_9;
    // stage 10
    wire signed [31:0] both = $signed({{16{x_10[15]}}, x_10[15:0]}) * $signed({{16{second[15]}}, second});
    wire signed [31:0] half_10 = (multiply_shift == 6'd0) ? both : both >>> (multiply_shift - 6'd1);
    wire signed [32:0] wide_10 = $signed({half_10[31], half_10});
    wire signed [32:0] of_both = (multiply_shift == 6'd0) ? wide_10 : (wide_10 + 33'sd1) >>> 1;
    always @(posedge clk) begin
        x_2 <= over_1 ? {centred[24], {23{!centred[24]}}} : centred[23:0];
        x_3 <= x_2;
        x_4 <= x_3;
        x_5 <= x_4;
        p_3 <= $signed({{24{x_2[23]}}, x_2}) * $signed({{24{factor[23]}}, factor});
        u_4 <= unit[23:0];
        v_5 <= $signed({{16{u_4[23]}}, u_4}) * $signed({{24{weight[15]}}, weight});
        x_6 <= norm ? {{8{sixteen[15]}}, sixteen} : x_5;
        x_7 <= rotate ? {{8{rotated[15]}}, rotated} : x_6;
        x_8 <= x_7;
        x_9 <= x_8;
        entry_8 <= entry;
        fraction_8 <= u[7:0];
        above_8 <= u[32:16] != 17'd0;
        g_9 <= x_8[15] ? 16'd32768 - inside : inside;
        x_10 <= (gate == 2'd1) ? {{8{gate_result[15]}}, gate_result} : (gate == 2'd2) ? positive : x_9;
        result <= !multiply ? x_10
            : (of_both > 33'sd8388607) ? 24'h7fffff : (of_both < -33'sd8388608) ? 24'h800000 : of_both[23:0];
    end
endmodule
"""


def vector_lane(shape: Shape) -> str:
    """The module `vector_lane`."""
    return fill(TEXT, shape)
