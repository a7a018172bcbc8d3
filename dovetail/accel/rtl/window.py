"""The order in which windows of a map are read: for convolution by way of gathered rows, and for pooling."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

WINDOW = """
// Walks over a map of places (row by row), each of `channel_words` words, as windows take it: for each place of the
// result each word of the channels, and of that word the window, row by row. No multiplication: addresses are added up.
module window (
    input  wire        clk,
    input  wire        start,          // to the first word of the first window
    input  wire        step,           // to the next
    input  wire [5:0]  channel_words,
    input  wire [3:0]  kernel_rows,
    input  wire [3:0]  kernel_columns,
    input  wire [2:0]  stride,
    input  wire [2:0]  padding,
    input  wire [6:0]  rows,           // of the map
    input  wire [6:0]  columns,
    input  wire [6:0]  out_rows,       // of the result
    input  wire [6:0]  out_columns,
    input  wire [11:0] row_words,      // of the map: columns * channel_words
    output wire [15:0] address,        // after the map's first word
    output wire        inside,         // not in the padding
    output wire        window_first,
    output wire        window_last,
    output wire        place_first,
    output wire        place_last,
    output wire        last
);
    reg [3:0] row, column;             // in the window
    reg [5:0] word;                    // of the channels
    reg [6:0] out_row, out_column;
    reg signed [9:0] from_row, from_column;
    reg [15:0] at, at_row, at_place, at_line;
    assign address = at;
    wire row_last = row == kernel_rows - 4'd1;
    wire column_last = column == kernel_columns - 4'd1;
    wire word_last = word == channel_words - 6'd1;
    wire line_last = out_column == out_columns - 7'd1;
    assign window_first = row == 4'd0 && column == 4'd0;
    assign window_last = row_last && column_last;
    assign place_first = window_first && word == 6'd0;
    assign place_last = window_last && word_last;
    assign last = place_last && line_last && out_row == out_rows - 7'd1;

    function [15:0] times(input [15:0] value, input [2:0] by);
        times = (by[0] ? value : 16'd0) + (by[1] ? value << 1 : 16'd0) + (by[2] ? value << 2 : 16'd0);
    endfunction
    wire [15:0] wide = {10'd0, channel_words};
    wire [15:0] next_place = at_place + times(wide, stride);
    wire [15:0] next_line = at_line + times({4'd0, row_words}, stride);
    wire [15:0] next_word = at_place + {10'd0, word} + 16'd1;
    wire [15:0] next_row = at_row + {4'd0, row_words};
    wire [15:0] first = -times({4'd0, row_words} + wide, padding);
    wire signed [9:0] before = -$signed({7'd0, padding});
    wire signed [9:0] by = $signed({7'd0, stride});
    wire signed [9:0] in_row = from_row + $signed({6'd0, row});
    wire signed [9:0] in_column = from_column + $signed({6'd0, column});
    assign inside = in_row >= 10'sd0 && in_row < $signed({3'd0, rows})
        && in_column >= 10'sd0 && in_column < $signed({3'd0, columns});

    always @(posedge clk) if (start) begin
        row <= 4'd0; column <= 4'd0; word <= 6'd0; out_row <= 7'd0; out_column <= 7'd0;
        from_row <= before; from_column <= before;
        at <= first; at_row <= first; at_place <= first; at_line <= first;
    end else if (step) begin
        column <= column_last ? 4'd0 : column + 4'd1;
        at <= at + wide;
        if (column_last) begin
            row <= row_last ? 4'd0 : row + 4'd1;
            at <= next_row; at_row <= next_row;
            if (row_last) begin
                word <= word_last ? 6'd0 : word + 6'd1;
                at <= next_word; at_row <= next_word;
                if (word_last) begin
                    out_column <= line_last ? 7'd0 : out_column + 7'd1;
                    from_column <= line_last ? before : from_column + by;
                    at <= next_place; at_row <= next_place; at_place <= next_place;
                    if (line_last) begin
                        out_row <= out_row + 7'd1;
                        from_row <= from_row + by;
                        at <= next_line; at_row <= next_line; at_place <= next_line; at_line <= next_line;
                    end
                end
            end
        end
    end
endmodule
"""

POOL = """
// The largest of a window's values, or their sum times a factor that makes it the mean; two stages.
module pool_lane (
    input  wire        clk,
    input  wire        valid,
    input  wire        first,     // of a window
    input  wire [23:0] value,     // signed
    input  wire        mean,
    input  wire [14:0] mantissa,
    input  wire [5:0]  shift,
    output wire [23:0] result
);
    reg signed [31:0] held;
    reg signed [47:0] product;
    wire signed [31:0] wide = {{8{value[23]}}, value};
    always @(posedge clk) begin
        if (valid) held <= first ? wide : mean ? held + wide : (wide > held) ? wide : held;
        product <= mean ? $signed({{16{held[31]}}, held}) * $signed({33'd0, mantissa}) : {{16{held[31]}}, held};
    end
    wire signed [47:0] half_ = (shift == 6'd0) ? product : product >>> (shift - 6'd1);
    wire signed [47:0] near = (shift == 6'd0 || !mean) ? product : (half_ + 48'sd1) >>> 1;
    assign result = near[23:0];
endmodule
"""


def window(shape: Shape) -> str:
    """The module `window`."""
    return fill(WINDOW, shape)


def pool_lane(shape: Shape) -> str:
    """The module `pool_lane`."""
    return fill(POOL, shape)
