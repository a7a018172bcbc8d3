"""The matrix engine: takes words of the weight stream to the array, and the array's sums through requantisation."""

from __future__ import annotations

from dovetail.accel.compile.instruction import ATTENTION, MATRIX, decoder
from dovetail.accel.compile.shape import Shape
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

    // ---- issue
    wire stall;
    wire ring_ready = ring_end != ring_at;
    wire issue = !stall && ring_ready && (state == STREAM || state == BLOCKS);
    wire last_step = step == steps - 16'd1;
    wire last_group = group_ == groups - 16'd1;
    wire last_block = block == blocks - 14'd1;
    wire word_ends = !nibbles || high || last_step;
    wire [15:0] run_steps = 16'd64 << i_group;      // steps of 2 * LANES groups: 32 << group inputs each
    wire run_ends = nibbles && in_run == run_steps - 16'd1;
    wire [@RING:0] ring_next = ring_at + 1'b1;
    wire [1:0] phase_begin = with_multipliers ? AT_MULTIPLIERS : AT_WEIGHTS;
    wire [1:0] phase_group = nibbles ? AT_STEPS : AT_WEIGHTS;
    assign ring_read = !stall;
    assign ring_address = ring_at[@RING-1:0];
    assign operand_read = !stall;
    wire [15:0] operand_at = {2'b0, operand_base + operand_offset} + (step >> LOG_SPREAD);
    assign operand_address = operand_at[@OPERANDS-1:0];
    wire [15:0] weight_step = step >> LOG_SPREAD;
    assign weight_address = {m_buffer, weight_step[@BLOCKS-1:0]};

    // ---- stage 1: the word is read
    reg        one_valid;
    reg [2:0]  one_tag;
    reg        one_first, one_last, one_high;
    reg [15:0] one_step;
    reg [5:0]  one_nibble;
    reg [15:0] one_group, one_block, one_address;
    // ---- stage 2: operands and weights stand before the array
    reg        two_valid, two_first, two_last;
    reg [15:0] two_group, two_block, two_address;
    reg [COLUMNS*LANES*8-1:0] two_weights;
    reg [ROWS*LANES*8-1:0]    two_operands;
    // ---- rows that leave
    reg        leaving;
    reg [15:0] leave_row, leave_rows, leave_group, leave_block, leave_address;
    reg [15:0] leave_position;
    reg [5:0]  leave_head;
    assign stall = two_valid && two_last && leaving;

    reg row_1, row_2, row_3, row_4;
    wire empty = !one_valid && !two_valid && !leaving && !row_1 && !row_2 && !row_3 && !row_4;

    wire [2:0] issue_tag = (state == STREAM)
        ? ((i_op == OP_COPY) ? T_COPY : (i_op == OP_POSITIONS) ? T_POSITIONS : (step == 16'd0) ? T_ROW : T_LOOKUP)
        : (phase == AT_MULTIPLIERS) ? T_MULTIPLIERS : (phase == AT_BIAS) ? T_BIAS
        : (phase == AT_STEPS) ? T_STEPS : T_WEIGHTS;
    wire [15:0] nibble_at = in_run >> (3'd5 + {1'b0, i_group} - 3'd@LOG_LANES);

    always @(posedge clk) begin
        scores_done <= 1'b0;
        weights_taken <= 2'b00;
        if (restart) done <= 12'd0;
        if (!stall) begin
            one_valid <= issue;
            if (issue) begin
                one_tag <= issue_tag;
                one_first <= step == 16'd0;
                one_last <= last_step;
                one_high <= high;
                one_step <= step;
                one_nibble <= nibble_at[5:0];
                one_group <= group_;
                one_block <= {2'd0, block};
                one_address <= (state == STREAM) ? address : group_address;
            end
        end
        case (state)
            IDLE: if (queue_pop) begin
                instruction <= queue;
                ring_at <= ring_begin;
                step <= 16'd0;
                block <= 14'd0;
                group_ <= 16'd0;
                in_run <= 16'd0;
                high <= 1'b0;
                token <= 16'd0;
                operand_offset <= 14'd0;
                state <= CHOOSE;
                s_first <= 16'd0; m_first <= 16'd0;
                s_head <= 8'd0; m_head <= 8'd0;
                pending <= 2'd0;
                s_buffer <= 1'b0; m_buffer <= 1'b0;
                s_index <= 8'd0;
                s_operand <= 14'd0;
            end
            CHOOSE: begin
                step <= 16'd0;
                block <= 14'd0;
                group_ <= 16'd0;
                in_run <= 16'd0;
                high <= 1'b0;
                operand_offset <= 14'd0;
                address <= i_to;
                if (attend) begin
                    with_multipliers <= 1'b0;
                    with_bias <= 1'b0;
                    nibbles <= 1'b0;
                    groups <= 16'd1;
                    phase <= AT_WEIGHTS;
                    if (s_left && !pending[1]) begin
                        kind <= SCORES;
                        blocks <= key_blocks[13:0];
                        steps <= {8'd0, a_steps};
                        operand_base <= a_operand + s_operand;
                        exponent_base <= a_exponent + s_index;
                        state <= BLOCKS;
                    end else if (m_left) begin
                        kind <= MIX;
                        blocks <= head_words[13:0];
                        steps <= (m_seen + 16'd@LANES - 16'd1) >> @LOG_LANES;
                        if (m_head == 8'd0) m_address <= a_to + m_first * {4'd0, a_stride};
                        if (weights_ready[m_buffer]) state <= BLOCKS;
                    end else begin
                        state <= IDLE;
                        done <= done + 12'd1;
                    end
                end else if (i_op == OP_COPY || i_op == OP_LOOKUP || i_op == OP_POSITIONS) begin
                    left <= (i_mode == 2'd0) ? i_count : i_count * {8'd0, tokens};
                    state <= STREAM;
                end else begin
                    kind <= PRODUCT;
                    blocks <= i_blocks;
                    steps <= {4'd0, i_steps};
                    operand_base <= i_operand;
                    exponent_base <= i_exponent;
                    groups <= i_single ? 16'd1 : (tokens + 16'd@ROWS - 16'd1) >> @LOG_ROWS;
                    with_multipliers <= 1'b1;
                    with_bias <= i_bias;
                    nibbles <= i_nibbles;
                    phase <= AT_MULTIPLIERS;
                    group_address <= i_to;
                    state <= BLOCKS;
                end
            end
            STREAM: if (issue) begin
                ring_at <= ring_next;
                ring_begin <= ring_next;
                left <= left - 24'd1;
                if (i_op == OP_LOOKUP) begin
                    if (step == {4'd0, i_steps}) begin
                        step <= 16'd0;
                        token <= token + 16'd1;
                    end else step <= step + 16'd1;
                    if (step != 16'd0 && (step & (SPREAD - 1)) == 16'd0) address <= address + 16'd1;
                end else address <= address + 16'd1;
                if (left == 24'd1) state <= DRAIN;
            end
            BLOCKS: if (issue) case (phase)
                AT_MULTIPLIERS: begin
                    ring_at <= ring_next;
                    ring_mark <= ring_next;
                    phase <= with_bias ? AT_BIAS : phase_group;
                end
                AT_BIAS: begin
                    ring_at <= ring_next;
                    ring_mark <= ring_next;
                    phase <= phase_group;
                end
                AT_STEPS: begin
                    ring_at <= ring_next;
                    in_run <= 16'd0;
                    phase <= AT_WEIGHTS;
                end
                default: begin
                    high <= nibbles && !word_ends;
                    if (word_ends) ring_at <= ring_next;
                    in_run <= in_run + 16'd1;
                    step <= step + 16'd1;
                    if (last_step) begin
                        step <= 16'd0;
                        phase <= phase_group;
                        if (!last_group) begin
                            group_ <= group_ + 16'd1;
                            operand_offset <= operand_offset + (steps[13:0] >> LOG_SPREAD);
                            group_address <= group_address + ({4'd0, i_stride} << @LOG_ROWS);
                            ring_at <= ring_mark;
                        end else begin
                            group_ <= 16'd0;
                            operand_offset <= 14'd0;
                            group_address <= i_to;
                            ring_mark <= ring_next;
                            ring_begin <= ring_next;
                            block <= block + 14'd1;
                            phase <= with_multipliers ? phase_begin : phase_group;
                            if (last_block) state <= DRAIN;
                        end
                    end else if (run_ends) phase <= AT_STEPS;
                end
            endcase
            DRAIN: if (empty) begin
                if (attend) begin
                    state <= CHOOSE;
                    if (kind == SCORES) begin
                        scores_done <= 1'b1;
                        scores_buffer <= s_buffer;
                        scores_rows <= score_rows[@LOG_ROWS:0];
                        scores_blocks <= blocks[@BLOCKS:0];
                        s_buffer <= !s_buffer;
                        s_index <= s_index + 8'd1;
                        s_operand <= s_operand + head_words[13:0];
                        pending <= pending + 2'd1;   // one pass ahead of mix: softmax works beside the array
                        if (s_head == a_heads - 8'd1) begin
                            s_head <= 8'd0;
                            s_first <= s_first + at_once;
                        end else s_head <= s_head + 8'd1;
                    end else begin
                        weights_taken[m_buffer] <= 1'b1;
                        m_buffer <= !m_buffer;
                        pending <= pending - 2'd1;
                        m_address <= m_address + {10'd0, a_sharing} * head_words;
                        if (m_head == a_heads - 8'd1) begin
                            m_head <= 8'd0;
                            m_first <= m_first + at_once;
                        end else m_head <= m_head + 8'd1;
                    end
                end else begin
                    state <= IDLE;
                    done <= done + 12'd1;
                end
            end
            default: state <= IDLE;
        endcase
        if (rst) begin
            state <= IDLE;
            ring_begin <= 0;
            done <= 12'd0;
            one_valid <= 1'b0;
        end
    end

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

    // ---- rows leave: one a cycle
    reg [COLUMNS*32-1:0] leave_multipliers, leave_biases;
    wire [15:0] rows_left = tokens - (two_group << @LOG_ROWS);
    wire [15:0] group_rows = i_single ? 16'd1 : (rows_left < 16'd@ROWS) ? rows_left : 16'd@ROWS;
    always @(posedge clk) begin
        if (two_valid && two_last && !stall) begin
            leaving <= 1'b1;
            leave_row <= 16'd0;
            leave_head <= 6'd0;
            leave_rows <= (kind == PRODUCT) ? group_rows : (kind == SCORES) ? score_rows : mix_rows;
            leave_group <= two_group;
            leave_block <= two_block;
            leave_address <= ((kind == PRODUCT) ? two_address : m_address) + two_block;
            leave_position <= position + s_first;
            leave_multipliers <= multipliers;
            leave_biases <= biases;
        end else if (leaving) begin
            leave_row <= leave_row + 16'd1;
            if (leave_row == leave_rows - 16'd1) leaving <= 1'b0;
            if (leave_head == a_sharing - 6'd1) begin
                leave_head <= 6'd0;
                leave_position <= leave_position + 16'd1;
            end else leave_head <= leave_head + 6'd1;
            if (kind == PRODUCT) leave_address <= leave_address + {4'd0, i_stride};
            else if (leave_head == a_sharing - 6'd1)
                leave_address <= leave_address + {4'd0, a_stride} - ({10'd0, a_sharing} - 16'd1) * head_words;
            else leave_address <= leave_address + head_words;
        end
        if (rst) leaving <= 1'b0;
    end
    wire [15:0] score_address =
        {{(15-@BLOCKS-@LOG_ROWS){1'b0}}, s_buffer, leave_row[@LOG_ROWS-1:0], leave_block[@BLOCKS-1:0]};
    wire [7:0] exponent_at = exponent_base + leave_group[7:0];
    assign exponent_address = exponent_at;
    wire [15:0] row_to = leaving ? ((kind == SCORES) ? score_address : leave_address) : one_address;
    assign add_address = row_to[@STREAM-1:0];
    wire [4:0] row_exponent = exponents[leave_row[@LOG_ROWS-1:0]*5 +: 5];
    wire [16:0] row_reciprocal = reciprocals[leave_row[@LOG_ROWS-1:0]*17 +: 17];
    wire [4:0] row_reciprocal_bits = reciprocal_bits[leave_row[@LOG_ROWS-1:0]*5 +: 5];

    reg [COLUMNS*32-1:0] sums_1;
    reg [COLUMNS*17-1:0] mantissas_1;
    reg [COLUMNS*6-1:0]  shifts_1;
    reg [COLUMNS*24-1:0] biases_1;
    reg add_1;
    reg [1:0] width_1;
    reg [15:0] to_1, to_2, to_3, to_4, position_1, position_2, position_3, position_4;
    reg [2:0] where_1, where_2, where_3, where_4;
    reg first_1, first_2, first_3, first_4;
    wire [2:0] where = !leaving ? 3'd0 : (kind == SCORES) ? 3'd3 : (kind == MIX) ? 3'd1 : {1'b0, i_dest};
    wire row_now = leaving || gathered_all || position_row;
    wire [COLUMNS*32-1:0] row_results = results[leave_row[@LOG_ROWS-1:0]*COLUMNS*32 +: COLUMNS*32];
    wire [7:0] offset_less = i_offset - {3'd0, row_exponent};
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : leave
            wire [7:0] byte_ = gather[c*8 +: 8];
            wire [7:0] product_shift = {2'd0, leave_multipliers[c*32+15 +: 6]} + offset_less;
            wire [7:0] row_shift = {2'd0, row_multiplier[20:15]} + i_offset;
            wire [5:0] attend_shift = (kind == SCORES) ? a_shift - {1'b0, row_exponent}
                : {1'b0, row_reciprocal_bits} + 6'd7;
            always @(posedge clk) begin
                sums_1[c*32 +: 32] <= leaving ? row_results[c*32 +: 32]
                    : position_row ? {{8{slices[c*32+23]}}, slices[c*32 +: 24]} : {{24{byte_[7]}}, byte_};
                mantissas_1[c*17 +: 17] <= !leaving ? (position_row ? 17'd1 : {2'd0, row_multiplier[14:0]})
                    : (kind == PRODUCT) ? {2'd0, leave_multipliers[c*32 +: 15]}
                    : (kind == SCORES) ? {2'd0, a_mantissa} : row_reciprocal;
                shifts_1[c*6 +: 6] <= !leaving ? (position_row ? 6'd0 : row_shift[5:0])
                    : (kind == PRODUCT) ? product_shift[5:0] : attend_shift;
                biases_1[c*24 +: 24] <= (leaving && kind == PRODUCT) ? leave_biases[c*32 +: 24] : 24'd0;
            end
            requantise requantise (
                .clk(clk), .sum(sums_1[c*32 +: 32]), .mantissa(mantissas_1[c*17 +: 17]),
                .shift(shifts_1[c*6 +: 6]), .bias(biases_1[c*24 +: 24]),
                .add(add_1 ? add_data[c*24 +: 24] : 24'd0), .width(width_1), .result(write_data[c*24 +: 24])
            );
        end
    endgenerate
    always @(posedge clk) begin
        row_1 <= row_now;
        row_2 <= row_1;
        row_3 <= row_2;
        row_4 <= row_3;
        add_1 <= leaving ? kind == PRODUCT && i_add : position_row;
        width_1 <= !leaving ? 2'd2 : (kind == PRODUCT) ? i_bits : (kind == SCORES) ? 2'd2 : 2'd1;
        where_1 <= where; where_2 <= where_1; where_3 <= where_2; where_4 <= where_3;
        to_1 <= (leaving && kind == PRODUCT && i_dest == 2'd2) ? leave_block : row_to;
        to_2 <= to_1; to_3 <= to_2; to_4 <= to_3;
        first_1 <= leave_block == 16'd0; first_2 <= first_1; first_3 <= first_2; first_4 <= first_3;
        position_1 <= leave_position; position_2 <= position_1; position_3 <= position_2; position_4 <= position_3;
        if (rst) begin
            row_1 <= 1'b0; row_2 <= 1'b0; row_3 <= 1'b0; row_4 <= 1'b0;
        end
    end
    assign write_stream = row_4 && where_4 == 3'd0;
    assign write_halves = row_4 && where_4 == 3'd1;
    assign write_logits = row_4 && where_4 == 3'd2;
    assign write_scores = row_4 && where_4 == 3'd3;
    assign write_address = to_4;
    assign logits_first = first_4;
    assign logits_limit = i_limit;
    assign scores_position = position_4;
endmodule
"""

_OF_PRODUCT = {
    "op", "mode", "count", "blocks", "steps", "nibbles", "group", "bias", "add", "dest", "bits", "offset", "operand",
    "exponent", "to", "stride", "single", "limit",
}  # fmt: skip
_OF_ATTENTION = {
    "heads", "sharing", "steps", "operand", "exponent", "mantissa", "shift", "to", "stride", "tokens_at_once",
}  # fmt: skip


def matrix(shape: Shape) -> str:
    """The module `matrix`."""
    product = decoder(MATRIX, "instruction", only=_OF_PRODUCT)
    attention = decoder(ATTENTION, "instruction", "a_", only=_OF_ATTENTION)
    return fill(TEXT, shape, MATRIX=product, ATTENTION=attention)
