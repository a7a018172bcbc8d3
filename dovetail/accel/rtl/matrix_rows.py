"""Rows of finished sums on their way out of the matrix engine."""

from __future__ import annotations

TEXT = """    // ---- rows leave: one a cycle
    reg [COLUMNS*32-1:0] leave_multipliers, leave_biases;
    wire [15:0] rows_left = all_rows - (two_group << @LOG_ROWS);
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
    wire [7:0] exponent_at = exponent_base + ((i_rows == 16'd0) ? leave_group[7:0] : 8'd0);   // a map has one
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
        add_1 <= leaving ? kind == PRODUCT && i_add : position_row && i_add;
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
"""
