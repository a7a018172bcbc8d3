"""The matrix engine: takes words of the weight stream to the array, and the array's sums through requantisation."""

from __future__ import annotations

from dovetail.accel.compile.instruction import ATTENTION, MATRIX, decoder
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl import matrix_issue, matrix_rows
from dovetail.accel.rtl.text import fill

TEXT = """
// Executes COPY, LOOKUP, POSITIONS, PRODUCT and ATTEND: everything that reads the weight stream.
//
// Each cycle takes one word of the stream (its head, or further on: a block's words are read once for each group of
// rows, and given back with the last). A word passes three stages: read, decode, multiply. Finished sums wait in the
// array's results while the next block begins, and leave one row a cycle through a requantiser for each column.
module matrix #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       rst,
    // instructions
    input  wire                       queue_valid,
    input  wire [255:0]               queue,
    output wire                       queue_pop,
    input  wire [11:0]                vector_done,
    output reg  [11:0]                done,
    input  wire                       restart,
    input  wire [15:0]                position,
    input  wire [15:0]                tokens,
    // weight stream
    input  wire [@RING:0]             ring_end,
    output reg  [@RING:0]             ring_begin,
    output wire                       ring_read,
    output wire [@RING-1:0]           ring_address,
    input  wire [COLUMNS*LANES*8-1:0] ring_data,
    output wire [@TILE-1:0]           slot_address,
    input  wire [@LOG_COLUMNS-1:0]    slot,
    // operands, weights of softmax
    output wire                       operand_read,
    output wire [@OPERANDS-1:0]       operand_address,
    input  wire [ROWS*COLUMNS*8-1:0]  operand_data,
    output wire [@BLOCKS:0]           weight_address,
    input  wire [ROWS*COLUMNS*8-1:0]  weight_data,
    output wire [7:0]                 exponent_address,
    input  wire [ROWS*5-1:0]          exponents,
    // results
    output wire [@STREAM-1:0]         add_address,
    input  wire [COLUMNS*24-1:0]      add_data,
    output wire                       write_stream,
    output wire                       write_halves,
    output wire                       write_scores,
    output wire                       write_logits,
    output wire [15:0]                write_address,
    output wire [COLUMNS*24-1:0]      write_data,
    output wire [19:0]                logits_limit,
    output wire                       logits_first,
    output wire [15:0]                scores_position,   // of the row's token
    output wire                       write_constants,
    output wire [@CONSTANTS-1:0]      constants_address,
    output wire [COLUMNS*32-1:0]      constants_data,
    // softmax
    output reg                        scores_done,       // of buffer `scores_buffer`, `scores_rows` rows
    output reg                        scores_buffer,
    output reg  [@LOG_ROWS:0]         scores_rows,
    output reg  [@BLOCKS:0]           scores_blocks,
    input  wire [1:0]                 weights_ready,
    output reg  [1:0]                 weights_taken,
    input  wire [ROWS*17-1:0]         reciprocals,       // of buffer `mix_buffer`
    input  wire [ROWS*5-1:0]          reciprocal_bits,
    output wire                       mix_buffer
);
    localparam SPREAD = COLUMNS / LANES;
    localparam LOG_SPREAD = @LOG_COLUMNS - @LOG_LANES;
    localparam IDLE = 3'd0, STREAM = 3'd1, DRAIN = 3'd2, CHOOSE = 3'd3, BLOCKS = 3'd4;
    localparam AT_MULTIPLIERS = 2'd0, AT_BIAS = 2'd1, AT_STEPS = 2'd2, AT_WEIGHTS = 2'd3;
    localparam T_WEIGHTS = 3'd0, T_MULTIPLIERS = 3'd1, T_BIAS = 3'd2, T_STEPS = 3'd3,
               T_COPY = 3'd4, T_ROW = 3'd5, T_LOOKUP = 3'd6, T_POSITIONS = 3'd7;
    localparam OP_COPY = 4'd1, OP_LOOKUP = 4'd2, OP_POSITIONS = 4'd3, OP_ATTEND = 4'd5;
    localparam PRODUCT = 2'd0, SCORES = 2'd1, MIX = 2'd2;

    // ---- the instruction at hand
    reg [255:0] instruction;
@MATRIX
@ATTENTION
    wire [3:0]  q_op = queue[3:0];
    wire [11:0] q_wait_vector = queue[28:17];
    wire attend = i_op == OP_ATTEND;
    reg [2:0] state;
    assign queue_pop = state == IDLE && queue_valid && vector_done >= q_wait_vector;

    // ---- what the array does now: blocks x groups of rows x steps
    reg [1:0]  kind;
    reg [13:0] blocks;
    reg [15:0] steps;
    reg [13:0] operand_base;
    reg [7:0]  exponent_base;
    reg [15:0] groups;
    reg        with_multipliers, with_bias, nibbles;
    reg [13:0] block;
    reg [15:0] group_;
    reg [15:0] step;
    reg [15:0] in_run;          // steps since the last word of steps (nibbles)
    reg        high;            // second half of a word of nibbles
    reg [1:0]  phase;
    reg [13:0] operand_offset;
    reg [15:0] group_address;
    reg [@RING:0] ring_at, ring_mark;
    reg [23:0] left;            // words of COPY, LOOKUP and POSITIONS
    reg [15:0] token;
    reg [15:0] address;

    // ---- attention: pass i is row group `s_rows` (scores) or `m_rows` (mix) of key head `s_head`, `m_head`
    reg [15:0] s_first, m_first;       // the first token of the row group
    reg [7:0]  s_head, m_head;
    reg [7:0]  s_index;                // of the exponents, modulo their memory
    reg [1:0]  pending;                // buffers of scores that mix has not read
    reg        s_buffer, m_buffer;
    reg [13:0] s_operand;
    reg [15:0] m_address;
    wire s_left = s_first < tokens;
    wire m_left = m_first < tokens;
    wire [15:0] at_once = {10'd0, a_tokens_at_once};
    wire [15:0] s_tokens = (tokens - s_first < at_once) ? tokens - s_first : at_once;
    wire [15:0] m_tokens = (tokens - m_first < at_once) ? tokens - m_first : at_once;
    wire [15:0] s_seen = position + s_first + s_tokens;
    wire [15:0] m_seen = position + m_first + m_tokens;
    wire [15:0] head_words = {8'd0, a_steps} >> LOG_SPREAD;
    wire [15:0] score_rows = s_tokens * {10'd0, a_sharing};
    wire [15:0] mix_rows = m_tokens * {10'd0, a_sharing};
    wire [15:0] key_blocks = (s_seen + 16'd@COLUMNS - 16'd1) >> @LOG_COLUMNS;
    assign mix_buffer = m_buffer;
@ISSUE

    // ---- stage 1 to 2: codes of 4 bits become bytes, the step's operands are chosen
    reg [COLUMNS*LANES*8-1:0] group_steps;
    reg [COLUMNS*32-1:0] multipliers, biases;
    wire [COLUMNS*LANES*8-1:0] decoded;
    wire [ROWS*COLUMNS*8-1:0] row_words = (kind == MIX) ? weight_data : operand_data;
    wire [ROWS*LANES*8-1:0] row_operands;
    wire [COLUMNS*32-1:0] slices;
    genvar c, l, r;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : column
            wire [LANES*8-1:0] slice = ring_data[c*LANES*8 +: LANES*8];
            wire [LANES*8-1:0] all_steps = group_steps[c*LANES*8 +: LANES*8];
            wire [3:0] step_less = all_steps[{one_nibble[@LOG_LANES:0], 2'b00} +: 4];
            wire [7:0] by = {3'd0, {1'b0, step_less} + 5'd1};
            assign slices[c*32 +: 32] = slice[31:0];
            for (l = 0; l < LANES; l = l + 1) begin : lane
                wire [3:0] code = one_high ? slice[l*8+4 +: 4] : slice[l*8 +: 4];
                assign decoded[(c*LANES + l)*8 +: 8] = nibbles ? {{4{code[3]}}, code} * by : slice[l*8 +: 8];
            end
        end
        for (r = 0; r < ROWS; r = r + 1) begin : operand
            assign row_operands[r*LANES*8 +: LANES*8] =
                row_words[r*COLUMNS*8 + (one_step & (SPREAD - 1))*LANES*8 +: LANES*8];
        end
    endgenerate
    always @(posedge clk) begin
        if (!stall) begin
            if (one_valid && one_tag == T_MULTIPLIERS) begin
                multipliers <= slices;
                biases <= {COLUMNS*32{1'b0}};
            end
            if (one_valid && one_tag == T_BIAS) biases <= slices;
            if (one_valid && one_tag == T_STEPS) group_steps <= ring_data;
            two_valid <= one_valid && one_tag == T_WEIGHTS;
            if (one_valid && one_tag == T_WEIGHTS) begin
                two_first <= one_first;
                two_last <= one_last;
                two_group <= one_group;
                two_block <= one_block;
                two_address <= one_address;
                two_weights <= decoded;
                two_operands <= row_operands;
            end
        end
        if (rst) two_valid <= 1'b0;
    end

    // ---- the array
    wire [ROWS*COLUMNS*32-1:0] results;
    array #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) array (
        .clk(clk), .enable(two_valid && !stall), .first(two_first), .last(two_last),
        .weights(two_weights), .operands(two_operands), .results(results)
    );

    // ---- constants on their way to the vector unit
    assign write_constants = one_valid && one_tag == T_COPY;
    assign constants_address = one_address[@CONSTANTS-1:0];
    assign constants_data = slices;

    // ---- a row of the embedding: bytes of one column, gathered until they fill a row
    wire [LANES*8-1:0] slot_bytes = ring_data[slot*LANES*8 +: LANES*8];
    wire [31:0] slot_slice = slices[slot*32 +: 32];
    reg [20:0] row_multiplier;
    reg [COLUMNS*8-1:0] gathered;
    wire [COLUMNS*8-1:0] gather;
    reg [@TILE-1:0] token_1;
    assign slot_address = token_1;
    always @(posedge clk) if (!stall) begin
        token_1 <= token[@TILE-1:0];
        if (one_valid && one_tag == T_ROW) row_multiplier <= slot_slice[20:0];
        if (one_valid && one_tag == T_LOOKUP) gathered <= gather;
    end
    generate
        if (SPREAD == 1) begin : whole
            assign gather = slot_bytes;
        end else begin : part
            assign gather = {slot_bytes, gathered[COLUMNS*8-1:LANES*8]};
        end
    endgenerate
    wire [15:0] looked = one_step - 16'd1;
    wire gathered_all = one_valid && one_tag == T_LOOKUP && (looked & (SPREAD - 1)) == SPREAD - 1;
    wire position_row = one_valid && one_tag == T_POSITIONS;

@LEAVE
endmodule
"""

_OF_PRODUCT = {
    "op", "mode", "count", "blocks", "steps", "nibbles", "group", "bias", "add", "dest", "bits", "offset", "operand",
    "exponent", "to", "stride", "single", "limit", "rows",
}  # fmt: skip
_OF_ATTENTION = {
    "heads", "sharing", "steps", "operand", "exponent", "mantissa", "shift", "to", "stride", "tokens_at_once",
}  # fmt: skip


def matrix(shape: Shape) -> str:
    """The module `matrix`."""
    product = decoder(MATRIX, "instruction", only=_OF_PRODUCT)
    attention = decoder(ATTENTION, "instruction", "a_", only=_OF_ATTENTION)
    text = TEXT.replace("@ISSUE", matrix_issue.TEXT).replace("@LEAVE", matrix_rows.TEXT)
    return fill(text, shape, MATRIX=product, ATTENTION=attention)
