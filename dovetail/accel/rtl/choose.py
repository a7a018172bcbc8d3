"""The next token: the largest logit while they come, the first of equals."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// Logits come COLUMNS at a time, from the first to the last; those from `limit` on pad the last word.
module choose #(parameter COLUMNS = @COLUMNS) (
    input  wire                  clk,
    input  wire                  valid,
    input  wire                  first,
    input  wire [15:0]           block,
    input  wire [COLUMNS*24-1:0] logits,
    input  wire [19:0]           limit,
    output reg  [19:0]           token
);
    reg [23:0] best, top;
    reg [19:0] index;
    wire [19:0] begin_ = {block[19-@LOG_COLUMNS:0], @LOG_COLUMNS'd0};
    integer i;
    always @* begin
        top = first ? logits[23:0] : best;
        index = first ? 20'd0 : token;
        for (i = 0; i < COLUMNS; i = i + 1)
            if ($signed(logits[i*24 +: 24]) > $signed(top) && begin_ + i[19:0] < limit) begin
                top = logits[i*24 +: 24];
                index = begin_ + i[19:0];
            end
    end
    always @(posedge clk) if (valid) begin
        best <= top;
        token <= index;
    end
endmodule
"""


def choose(shape: Shape) -> str:
    """The module `choose`."""
    text = TEXT
    if shape.columns < 16:  # a block's number has 16 bits
        pad = 4 - (shape.columns.bit_length() - 1)
        text = text.replace("{block[19-@LOG_COLUMNS:0], ", f"{{{pad}'d0, block, ")
    return fill(text, shape)
