"""The vector unit's sequence: tokens, parts of their vectors that have a norm of their own, passes."""

from __future__ import annotations

TEXT = """    // ---- sequence
    wire begin_pass = !issuing && valid == 11'd0;
    always @(posedge clk) begin
        if (restart) done <= 12'd0;
        if (issuing) begin
            word <= word + 12'd1;
            if (in_head == i_head_words - 12'd1) begin
                in_head <= 12'd0;
                head <= head + 8'd1;
            end else in_head <= in_head + 12'd1;
            if (last_word) issuing <= 1'b0;
        end
        case (state)
            IDLE: if (queue_pop) begin
                instruction <= queue;
                state <= CONFIGURE;
            end
            CONFIGURE: begin   // the word of constants is read
                state <= CONFIGURED;
                token <= i_single ? tokens - 16'd1 : 16'd0;
                stored <= 16'd0;
                source_at <= i_source + (i_single ? (tokens - 16'd1) * {4'd0, i_stride} : 16'd0);
                second_at <= i_second;
                angle_at <= {4'd0, i_angles};
                group_operand <= {2'd0, i_operand};
                group_index <= i_exponent;
                row_base <= 16'd0;
                in_group <= 16'd0;
                mean <= 24'sd0;
            end
            CONFIGURED: begin
                epsilon <= weight_data[61:0];
                weight_shift <= weight_data[69:64];
                mean_mantissa <= weight_data[110:96];
                mean_shift <= weight_data[116:111];
                part <= 8'd0;
                part_first <= 12'd0;
                in_head <= 12'd0;
                head <= 8'd0;
                state <= PART;
            end
            PART: begin
                word <= 12'd0;
                issuing <= 1'b1;
                sum <= 40'sd0;
                squares <= {1'b0, epsilon};
                mean <= 24'sd0;
                state <= !i_norm ? MAIN : i_mean ? SUM : SQUARE;
            end
            SUM: begin
                if (valid[1]) sum <= sum + word_sum;
                if (last[2]) state <= MEAN;
            end
            MEAN: begin
                mean <= mean_near[23:0];
                if (begin_pass) begin
                    word <= 12'd0;
                    issuing <= 1'b1;
                    state <= SQUARE;
                end
            end
            SQUARE: begin
                if (valid[3]) squares <= squares + word_squares;
                if (root_start) state <= ROOT;
            end
            ROOT: if (root_valid) begin
                word <= 12'd0;
                in_head <= 12'd0;
                head <= part;
                issuing <= 1'b1;
                state <= MAIN;
            end
            MAIN: if (made_last) begin
                part <= part + 8'd1;
                part_first <= part_first + i_words;
                if (part == i_parts - 8'd1) begin
                    total_words <= part_first + i_words;
                    sinking <= 1'b1;
                    sink_word <= 12'd0;
                    sink_in_head <= 12'd0;
                    sink_head <= 8'd0;
                    sharer <= 6'd0;
                    head_operand <= group_operand;
                    head_index <= group_index;
                    head_cache <= i_cache;
                    state <= SINK;
                end else state <= PART;
            end
            SINK: if (sink_done) state <= NEXT;
            NEXT: begin
                token <= token + 16'd1;
                stored <= stored + 16'd1;
                source_at <= source_at + {4'd0, i_stride};
                second_at <= second_at + {4'd0, i_stride};
                angle_at <= angle_at + {4'd0, i_head_words};
                part <= 8'd0;
                part_first <= 12'd0;
                in_head <= 12'd0;
                head <= 8'd0;
                if (i_sink == TOKEN_ROWS && (stored & (ROWS - 1)) == ROWS - 1) begin
                    group_operand <= group_operand + {4'd0, total_words};
                    group_index <= group_index + 8'd1;
                end
                if (i_sink == HEAD_ROWS) begin
                    if (in_group == {10'd0, i_tokens_at_once} - 16'd1) begin
                        in_group <= 16'd0;
                        row_base <= 16'd0;
                        group_operand <= head_operand;
                        group_index <= head_index;
                    end else begin
                        in_group <= in_group + 16'd1;
                        row_base <= row_base + {10'd0, i_sharing};
                    end
                end
                if (token == tokens - 16'd1) begin
                    done <= done + 12'd1;
                    state <= IDLE;
                end else state <= PART;
            end
            default: state <= IDLE;
        endcase
        if (sink_issue) begin
            sink_word <= sink_word + 12'd1;
            if (sink_last) sinking <= 1'b0;
            if (i_sink == VALUES) head_cache <= head_cache + {12'd0, i_channel_stride};
            if (head_last) begin
                sink_in_head <= 12'd0;
                sink_head <= sink_head + 8'd1;
                head_cache <= cache_next;
                if (sharer == i_sharing - 6'd1) begin
                    sharer <= 6'd0;
                    head_operand <= head_operand + {4'd0, i_head_words};
                    head_index <= head_index + 8'd1;
                end else sharer <= sharer + 6'd1;
            end else sink_in_head <= sink_in_head + 12'd1;
        end
        if (rst) begin
            state <= IDLE;
            done <= 12'd0;
            issuing <= 1'b0;
            sinking <= 1'b0;
        end
    end
    always @(posedge clk)
        if (state == MAIN) cache_first <= i_cache;
        else if (sink_issue && head_last) cache_first <= cache_next;
"""
