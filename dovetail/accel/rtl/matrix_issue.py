"""What the array does in each cycle: blocks, groups of rows and steps, and the passes of attention."""

from __future__ import annotations

TEXT = """    // ---- issue
    wire stall;
    wire [15:0] all_rows = (i_rows == 16'd0) ? tokens : i_rows;   // a map's places are rows as tokens are
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
                    groups <= i_single ? 16'd1 : (all_rows + 16'd@ROWS - 16'd1) >> @LOG_ROWS;
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
"""
