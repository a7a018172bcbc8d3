"""The vector unit's last pass: a vector, complete in its line, to operands of the array or to the cache."""

from __future__ import annotations

TEXT = """    // ---- values in a line, and the bits of each head's largest
@MADE
    wire [COLUMNS*24-1:0] line_data;
    reg [11:0] sink_word;
    reg sinking;
    wire sink_issue;
    memory #(.WIDTH(COLUMNS*24), .ADDRESS(@LINE)) line (
        .clk(clk), .write(line_write), .write_address(made_word[@LINE-1:0]), .write_data(made),
        .read(sink_issue), .read_address(line_at[@LINE-1:0]), .read_data(line_data)
    );
    assign seen = line_write;
    assign seen_word = made_word[@LINE-1:0];
    assign seen_data = made;
    reg [23:0] magnitudes [0:255];
    wire [23:0] magnitude_before = magnitudes[made_head];
    reg [23:0] magnitude, size;
    integer j;
    always @* begin
        magnitude = in_head_first ? 24'd0 : magnitude_before;
        for (j = 0; j < COLUMNS; j = j + 1) begin
            size = made[j*24+23] ? ~made[j*24 +: 24] + 24'd1 : made[j*24 +: 24];
            magnitude = magnitude | size;
        end
    end
    always @(posedge clk) if (line_write) magnitudes[made_head] <= magnitude;

    // ---- the last pass: to operands or to the cache
    reg [11:0]  sink_in_head;
    reg [7:0]  sink_head;
    reg [5:0]  sharer;                       // head within those that share keys
    reg [15:0] head_operand, group_operand;
    reg [7:0]  head_index, group_index;
    reg [15:0] row_base, in_group;
    reg [27:0] head_cache;
    reg        one_valid, one_first, one_last, two_valid, two_first;
    reg [15:0] one_row, two_row, one_to, two_to;
    reg [7:0]  one_index, two_index, one_head;
    reg [4:0]  two_exponent;
    reg [27:0] one_cache, two_cache;
    reg [COLUMNS*8-1:0] two_bytes;
    reg [15:0] slot;                         // word of a head's keys that is being written
    reg        writing;
    reg [27:0] cache_first;                  // of this head
    wire [27:0] cache_next = cache_first + {4'd0, i_cache_stride};
    wire to_cache = i_sink == KEYS || i_sink == VALUES;
    wire rowwise = i_sink == TOKEN_ROWS || i_sink == GATHERED;
@GATHER
    wire head_last = !gathering && sink_in_head == i_head_words - 12'd1;
    assign sink_issue = sinking && !(to_cache && (one_valid || writing || cache_write));
    wire [23:0] sink_magnitude = magnitudes[one_head];
    reg [4:0] bits;
    integer k;
    always @* begin
        bits = 5'd0;
        for (k = 0; k < 24; k = k + 1) if (sink_magnitude[k]) bits = k[4:0] + 5'd1;
    end
    wire [4:0] exponent = (i_sink == KEYS) ? 5'd8 : (i_sink == VALUES) ? 5'd0 : (bits > 5'd7) ? bits - 5'd7 : 5'd0;
    wire [COLUMNS*8-1:0] bytes;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : quantise
            wire signed [23:0] value = line_data[c*24 +: 24];
            wire signed [23:0] half_ = (exponent == 5'd0) ? value : value >>> (exponent - 5'd1);
            wire signed [24:0] wide = $signed({half_[23], half_});
            wire signed [24:0] near = (exponent == 5'd0) ? wide : (wide + 25'sd1) >>> 1;
            assign bytes[c*8 +: 8] = !one_inside ? 8'd0
                : (near > 25'sd127) ? 8'd127 : (near < -25'sd127) ? 8'd129 : near[7:0];
        end
    endgenerate
    wire [15:0] absolute = position + token;
    wire [27:0] key_words = {16'd0, i_head_words} << (@LOG_COLUMNS - @LOG_LANES);
    wire [27:0] key_block = ({12'd0, absolute} >> @LOG_COLUMNS) * key_words;
    wire [27:0] sink_cache = (i_sink == KEYS)
        ? head_cache + key_block + ({16'd0, sink_in_head} << (@LOG_COLUMNS - @LOG_LANES))
        : head_cache + ({12'd0, absolute} >> @LOG_LANES);
    always @(posedge clk) begin
        one_valid <= sink_issue;
        one_first <= row_first;
        one_last <= sink_last;
        one_head <= sink_head;
        one_row <= rowwise ? token_row : row_base + {10'd0, sharer};
        one_to <= rowwise ? token_to : head_operand + {4'd0, sink_in_head};
        one_index <= rowwise ? group_index : head_index;
        one_cache <= sink_cache;
        two_valid <= one_valid && !to_cache;
        two_first <= one_first;
        two_row <= one_row;
        two_to <= one_to;
        two_index <= one_index;
        two_exponent <= exponent;
        two_bytes <= bytes;
        if (rst) begin
            one_valid <= 1'b0;
            two_valid <= 1'b0;
        end
    end
    generate
        for (c = 0; c < ROWS; c = c + 1) begin : bank
            assign operand_write[c] = two_valid && two_row == c;
        end
    endgenerate
    assign operand_address = two_to[@OPERANDS-1:0];
    assign operand_data = two_bytes;
    assign exponent_write = two_valid && two_first;
    assign exponent_address = two_index;
    assign exponent_data = two_exponent;

    // ---- keys: SPREAD words of LANES channels in one slice; values: one byte in every slice
    wire [COLUMNS*LANES*8-1:0] key_data, value_data;
    wire [COLUMNS*LANES-1:0] key_strobe, value_strobe;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : slice
            assign key_data[c*LANES*8 +: LANES*8] = two_bytes[slot*LANES*8 +: LANES*8];
            assign value_data[c*LANES*8 +: LANES*8] = {LANES{two_bytes[c*8 +: 8]}};
            assign key_strobe[c*LANES +: LANES] = {LANES{(absolute & (COLUMNS - 1)) == c}};
            assign value_strobe[c*LANES +: LANES] = {{(LANES-1){1'b0}}, 1'b1} << (absolute & (LANES - 1));
        end
    endgenerate
    always @(posedge clk) begin
        if (one_valid && to_cache) begin
            writing <= 1'b1;
            slot <= 16'd0;
            two_cache <= one_cache;
        end else if (writing && (!cache_write || cache_ready)) begin
            cache_write <= 1'b1;
            cache_address <= two_cache + {12'd0, slot};
            cache_data <= (i_sink == KEYS) ? key_data : value_data;
            cache_strobe <= (i_sink == KEYS) ? key_strobe : value_strobe;
            slot <= slot + 16'd1;
            if (i_sink == VALUES || slot == SPREAD - 1) writing <= 1'b0;
        end else if (cache_ready) cache_write <= 1'b0;
        if (rst) begin
            writing <= 1'b0;
            cache_write <= 1'b0;
        end
    end
    wire sink_done = !sinking && !one_valid && !two_valid && !writing && !cache_write;
"""
