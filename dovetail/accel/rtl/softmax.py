"""Softmax of the scores of one row group: the maximum as they come, then weights, their sum, its reciprocal."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// Two buffers of scores (ROWS x context), two of weights: the array uses one of each, softmax works on the other.
// Scores are logarithms to base 2 in units of 2^-8; a weight is 127 * 2^(score - maximum), 0 from 2^-8 on.
module softmax #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS) (
    input  wire                      clk,
    input  wire                      rst,
    // scores of COLUMNS tokens, of one row
    input  wire                      write,
    input  wire [@BLOCKS+@LOG_ROWS:0] write_address,   // {buffer, row, block}
    input  wire [COLUMNS*24-1:0]     write_data,
    input  wire [15:0]               write_position,   // of the row's token: later ones are not seen
    input  wire                      scores_done,
    input  wire                      scores_buffer,
    input  wire [@LOG_ROWS:0]        scores_rows,
    input  wire [@BLOCKS:0]          scores_blocks,
    // weights
    output reg  [1:0]                ready,
    input  wire [1:0]                taken,
    input  wire                      read,
    input  wire [@BLOCKS:0]          read_address,     // {buffer, block}
    output wire [ROWS*COLUMNS*8-1:0] weights,
    input  wire                      mix_buffer,
    output wire [ROWS*17-1:0]        reciprocals,
    output wire [ROWS*5-1:0]         reciprocal_bits
);
    // ---- the largest score of each row, and its token
    reg [23:0] largest [0:2*ROWS-1];
    reg [15:0] position [0:2*ROWS-1];
    wire [@LOG_ROWS:0] write_row = write_address[@BLOCKS+@LOG_ROWS:@BLOCKS];
    wire [15:0] write_first = {{(16-@BLOCKS-@LOG_COLUMNS){1'b0}}, write_address[@BLOCKS-1:0], @LOG_COLUMNS'd0};
    wire [23:0] largest_before = largest[write_row];
    reg [23:0] top;
    integer i;
    always @* begin
        top = (write_first == 16'd0) ? 24'h800000 : largest_before;
        for (i = 0; i < COLUMNS; i = i + 1)
            if (write_first + i[15:0] <= write_position && $signed(write_data[i*24 +: 24]) > $signed(top))
                top = write_data[i*24 +: 24];
    end
    always @(posedge clk) if (write) begin
        largest[write_row] <= top;
        position[write_row] <= write_position;
    end

    // ---- buffers that wait, and the one at work
    reg [1:0] full;
    reg [@LOG_ROWS:0] rows [0:1];
    reg [@BLOCKS:0] blocks [0:1];
    reg buffer, busy;
    reg [@LOG_ROWS:0] row;
    reg [@BLOCKS:0] block;
    wire last_block = block == blocks[buffer] - 1'b1;
    wire last_row = row == rows[buffer] - 1'b1;
    wire begin_ = !busy && full[buffer] && !ready[buffer];
    reg finishing;
    reg one_valid, two_valid, one_last, two_last, three_last, dividing;
    // a row's last block waits until the divider has done the row before
    wire divider_free = !dividing && !(one_valid && one_last) && !(two_valid && two_last);
    wire issue = busy && !finishing && (!last_block || divider_free);
    reg [@LOG_ROWS:0] one_row, two_row, three_row;
    reg [@BLOCKS:0] one_block, two_block;
    wire [COLUMNS*24-1:0] scores;
    memory #(.WIDTH(COLUMNS*24), .ADDRESS(@BLOCKS+@LOG_ROWS+1)) score_memory (
        .clk(clk), .write(write), .write_address(write_address), .write_data(write_data),
        .read(issue), .read_address({buffer, row[@LOG_ROWS-1:0], block[@BLOCKS-1:0]}), .read_data(scores)
    );

    // ---- weights of COLUMNS scores
    wire [@LOG_ROWS:0] one_at = {buffer, one_row[@LOG_ROWS-1:0]};
    wire [23:0] one_top = largest[one_at];
    wire [15:0] one_position = position[one_at];
    wire [15:0] one_first = {{(16-@BLOCKS-@LOG_COLUMNS){1'b0}}, one_block[@BLOCKS-1:0], @LOG_COLUMNS'd0};
    reg [COLUMNS*8-1:0] two_weights;
    genvar c;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : lane
            wire [23:0] score = scores[c*24 +: 24];
            wire [24:0] far = {one_top[23], one_top} - {score[23], score};
            wire seen = one_first + c <= one_position && far[24:11] == 14'd0;
            wire [14:0] power;
            power_table table_ (.index(far[7:0]), .value(power));
            wire [15:0] rounded = ({1'b0, power} >> (4'd7 + {1'b0, far[10:8]})) + 16'd1;
            always @(posedge clk) two_weights[c*8 +: 8] <= seen ? rounded[8:1] : 8'd0;
        end
    endgenerate
    reg [23:0] sum, total;
    integer j;
    always @* begin
        total = sum;
        for (j = 0; j < COLUMNS; j = j + 1) total = total + {16'd0, two_weights[j*8 +: 8]};
    end

    // ---- floor(2^(15 + bits) / total), a bit a cycle: the first bit of the dividend is one, all others are zeros
    reg [23:0] divisor, remainder;
    reg [16:0] quotient;
    reg [4:0] size, count;
    wire divided = dividing && count == 5'd0;
    reg [4:0] total_bits;
    integer k;
    always @* begin
        total_bits = 5'd0;
        for (k = 0; k < 24; k = k + 1) if (total[k]) total_bits = k[4:0] + 5'd1;
    end
    wire [24:0] twice = {remainder, 1'b0};
    wire fits = twice >= {1'b0, divisor};
    wire [24:0] less = twice - {1'b0, divisor};

    // ---- weights wait for the array
    genvar r;
    generate
        for (r = 0; r < ROWS; r = r + 1) begin : bank
            memory #(.WIDTH(COLUMNS*8), .ADDRESS(@BLOCKS+1)) weight_memory (
                .clk(clk), .write(two_valid && two_row == r), .write_address({buffer, two_block[@BLOCKS-1:0]}),
                .write_data(two_weights), .read(read), .read_address(read_address),
                .read_data(weights[r*COLUMNS*8 +: COLUMNS*8])
            );
            reg [16:0] values [0:1];
            reg [4:0] bits [0:1];
            assign reciprocals[r*17 +: 17] = values[mix_buffer];
            assign reciprocal_bits[r*5 +: 5] = bits[mix_buffer];
            always @(posedge clk) if (divided && three_row == r) begin
                values[buffer] <= quotient;
                bits[buffer] <= size;
            end
        end
    endgenerate

    always @(posedge clk) begin
        one_valid <= issue;
        one_last <= last_block;
        one_row <= row;
        one_block <= block;
        two_valid <= one_valid;
        two_last <= one_last;
        two_row <= one_row;
        two_block <= one_block;
        if (two_valid) sum <= two_last ? 24'd0 : total;
        if (two_valid && two_last) begin
            // what a long division has left after the first bits of the dividend, which give no bit of the quotient
            divisor <= total;
            remainder <= 24'd1 << (total_bits - 5'd2);
            size <= total_bits;
            quotient <= 17'd0;
            count <= 5'd17;
            dividing <= 1'b1;
            three_row <= two_row;
            three_last <= two_row == rows[buffer] - 1'b1;
        end else if (dividing) begin
            count <= count - 5'd1;
            if (count != 5'd0) begin
                quotient <= {quotient[15:0], fits};
                remainder <= fits ? less[23:0] : twice[23:0];
            end else begin
                dividing <= 1'b0;
                if (three_last) begin
                    ready[buffer] <= 1'b1;
                    full[buffer] <= 1'b0;
                    buffer <= !buffer;
                    busy <= 1'b0;
                end
            end
        end
        if (begin_) begin
            busy <= 1'b1;
            finishing <= 1'b0;
            row <= 0;
            block <= 0;
            sum <= 24'd0;
        end else if (issue) begin
            block <= last_block ? 0 : block + 1'b1;
            if (last_block) row <= row + 1'b1;
            if (last_block && last_row) finishing <= 1'b1;
        end
        if (scores_done) begin
            full[scores_buffer] <= 1'b1;
            rows[scores_buffer] <= scores_rows;
            blocks[scores_buffer] <= scores_blocks;
        end
        if (taken[0]) ready[0] <= 1'b0;
        if (taken[1]) ready[1] <= 1'b0;
        if (rst) begin
            full <= 2'b00;
            ready <= 2'b00;
            busy <= 1'b0;
            buffer <= 1'b0;
            dividing <= 1'b0;
            one_valid <= 1'b0;
            two_valid <= 1'b0;
        end
    end
endmodule
"""


def softmax(shape: Shape) -> str:
    """The module `softmax`."""
    return fill(TEXT, shape)
