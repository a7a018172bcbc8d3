"""The vector unit: norms, rotary positions, gates and quantisation of one token's vector after the other."""

from __future__ import annotations

from dovetail.accel.compile.instruction import VECTORED, decoder
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// Executes VECTOR: for each token (and each part of its vector that has a norm of its own) passes over the words of a
// vector: the sum, the squares, the values; then a pass that quantises them for the array or for the cache.
module vector #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire                       queue_valid,
    input  wire [255:0]               queue,
    output wire                       queue_pop,
    input  wire [11:0]                matrix_done,
    output reg  [11:0]                done,
    input  wire                       restart,
    input  wire [15:0]                position,
    input  wire [15:0]                tokens,
    // residual stream, halves, constants
    output wire [15:0]                source_address,
    input  wire [COLUMNS*24-1:0]      stream_data,
    input  wire [COLUMNS*16-1:0]      halves_data,
    output wire [@HALVES-1:0]         second_address,
    input  wire [COLUMNS*16-1:0]      second_data,
    output wire [@CONSTANTS-1:0]      weight_address,
    input  wire [COLUMNS*32-1:0]      weight_data,
    output wire [@CONSTANTS-1:0]      bias_address,
    input  wire [COLUMNS*32-1:0]      bias_data,
    // operands of the array
    output wire [ROWS-1:0]            operand_write,
    output wire [@OPERANDS-1:0]       operand_address,
    output wire [COLUMNS*8-1:0]       operand_data,
    output wire                       exponent_write,
    output wire [7:0]                 exponent_address,
    output wire [4:0]                 exponent_data,
    // the cache of keys and values
    output reg                        cache_write,
    input  wire                       cache_ready,
    output reg  [27:0]                cache_address,
    output reg  [COLUMNS*LANES*8-1:0] cache_data,
    output reg  [COLUMNS*LANES-1:0]   cache_strobe,
    // values before they are quantised, to compare
    output wire                       seen,
    output wire [@LINE-1:0]           seen_word,
    output wire [COLUMNS*24-1:0]      seen_data
);
    localparam SPREAD = COLUMNS / LANES;
    localparam IDLE = 4'd0, CONFIGURE = 4'd1, CONFIGURED = 4'd2, PART = 4'd3, SUM = 4'd4, MEAN = 4'd5, SQUARE = 4'd6,
               ROOT = 4'd7, MAIN = 4'd8, SINK = 4'd9, NEXT = 4'd10;
    localparam TOKEN_ROWS = 2'd0, HEAD_ROWS = 2'd1, KEYS = 2'd2, VALUES = 2'd3;

    reg [255:0] instruction;
@VECTORED
    wire [11:0] q_wait_matrix = queue[16:5];
    reg [3:0] state;
    assign queue_pop = state == IDLE && queue_valid && matrix_done >= q_wait_matrix;

    // ---- one token, one part, one pass
    reg [15:0] token, stored;                    // its number in the tile, and where it goes
    reg [15:0] source_at, second_at, angle_at;
    reg [7:0]  part;
    reg [9:0]  part_first, total_words;          // words before this part; of all parts
    reg [9:0]  word, in_head;
    reg [7:0]  head;
    reg        issuing;
    wire [9:0] all_words = part_first + word;
    wire last_word = word == i_words - 10'd1;
    assign source_address = source_at + {6'd0, all_words};

    // ---- constants of a norm: epsilon, shift, mean
    reg [61:0] epsilon;
    reg [5:0]  weight_shift, mean_shift;
    reg [14:0] mean_mantissa;
    reg signed [23:0] mean;
    wire [16:0] root;
    wire [4:0]  root_half;
    wire root_valid;

    // ---- stages
    reg [11:1] valid, last;
    reg [9:0] w [1:11];      // word of the part
    reg [9:0] t [1:11];      // of the vector
    reg [9:0] h [1:11];      // of the head
    reg [7:0] n [1:11];      // head
    integer s;
    always @(posedge clk) begin
        valid <= {valid[10:1], issuing};
        last <= {last[10:1], issuing && last_word};
        w[1] <= word; t[1] <= all_words; h[1] <= in_head; n[1] <= head;
        for (s = 2; s <= 11; s = s + 1) begin
            w[s] <= w[s-1]; t[s] <= t[s-1]; h[s] <= h[s-1]; n[s] <= n[s-1];
        end
        if (rst) valid <= 11'd0;
    end
    wire [11:0] weight_at = (state == CONFIGURE || state == IDLE) ? i_constants : i_constants + 12'd1 + {2'd0, w[3]};
    assign weight_address = weight_at[@CONSTANTS-1:0];
    wire [15:0] rotary_at = angle_at + {6'd0, h[5]};
    wire [11:0] bias_at = i_rotate ? rotary_at[11:0] : i_constants + 12'd1 + {2'd0, i_words} + {2'd0, w[4]};
    assign bias_address = bias_at[@CONSTANTS-1:0];
    wire [15:0] second_word = second_at + {6'd0, t[9]};
    assign second_address = second_word[@HALVES-1:0];

    wire [COLUMNS*24-1:0] values;
    wire [COLUMNS*48-1:0] products;
    wire [COLUMNS*16-1:0] normed;
    wire [COLUMNS*24-1:0] sources;
    wire [4:0] root_shift = root_half - 5'd5;
    genvar c;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : lane
            localparam OTHER = (c % 2 == 0) ? c + 1 : c - 1;
            assign sources[c*24 +: 24] = i_from_stream ? stream_data[c*24 +: 24]
                : {{8{halves_data[c*16+15]}}, halves_data[c*16 +: 16]};
            vector_lane vector_lane (
                .clk(clk), .source(sources[c*24 +: 24]), .mean(mean), .square(state == SQUARE), .root(root),
                .product(products[c*48 +: 48]), .root_shift(root_shift), .norm(i_norm),
                .weight(weight_data[c*32 +: 16]), .weight_shift(weight_shift),
                .bias(i_bias ? bias_data[c*32 +: 24] : 24'd0), .normed(normed[c*16 +: 16]),
                .partner(normed[OTHER*16 +: 16]), .rotate(i_rotate), .odd(c % 2 == 1), .angle(bias_data[c*32 +: 32]),
                .gate(i_gate), .gate_shift(i_gate_shift), .multiply(i_multiply), .second(second_data[c*16 +: 16]),
                .multiply_shift(i_multiply_shift), .result(values[c*24 +: 24])
            );
        end
    endgenerate

    // ---- sums over a vector
    reg signed [39:0] sum, word_sum;
    reg [62:0] squares, word_squares;
    integer i;
    always @* begin
        word_sum = 40'sd0;
        word_squares = 63'd0;
        for (i = 0; i < COLUMNS; i = i + 1) begin
            word_sum = word_sum + {{16{sources[i*24+23]}}, sources[i*24 +: 24]};
            word_squares = word_squares + {15'd0, products[i*48 +: 48]};
        end
    end
    wire signed [63:0] mean_product = $signed({{24{sum[39]}}, sum}) * $signed({49'd0, mean_mantissa});
    wire signed [63:0] mean_half = (mean_shift == 6'd0) ? mean_product : mean_product >>> (mean_shift - 6'd1);
    wire signed [63:0] mean_near = (mean_shift == 6'd0) ? mean_product : (mean_half + 64'sd1) >>> 1;
    wire root_start = state == SQUARE && last[5];
    inverse_root inverse_root (
        .clk(clk), .start(root_start), .x(squares), .valid(root_valid), .mantissa(root), .half(root_half)
    );

    // ---- values in a line, and the bits of each head's largest
    wire line_write = valid[11] && state == MAIN;
    wire [COLUMNS*24-1:0] line_data;
    reg [9:0] sink_word;
    reg sinking;
    wire sink_issue;
    memory #(.WIDTH(COLUMNS*24), .ADDRESS(@LINE)) line (
        .clk(clk), .write(line_write), .write_address(t[11][@LINE-1:0]), .write_data(values),
        .read(sink_issue), .read_address(sink_word[@LINE-1:0]), .read_data(line_data)
    );
    assign seen = line_write;
    assign seen_word = t[11][@LINE-1:0];
    assign seen_data = values;
    reg [23:0] magnitudes [0:255];
    wire [23:0] magnitude_before = magnitudes[n[11]];
    reg [23:0] magnitude, size;
    wire in_head_first = h[11] == 10'd0;
    integer j;
    always @* begin
        magnitude = in_head_first ? 24'd0 : magnitude_before;
        for (j = 0; j < COLUMNS; j = j + 1) begin
            size = values[j*24+23] ? ~values[j*24 +: 24] + 24'd1 : values[j*24 +: 24];
            magnitude = magnitude | size;
        end
    end
    always @(posedge clk) if (line_write) magnitudes[n[11]] <= magnitude;

    // ---- the last pass: to operands or to the cache
    reg [9:0]  sink_in_head;
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
    wire sink_last = sink_word == total_words - 10'd1;
    wire head_last = sink_in_head == i_head_words - 10'd1;
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
            assign bytes[c*8 +: 8] = (near > 25'sd127) ? 8'd127 : (near < -25'sd127) ? 8'd129 : near[7:0];
        end
    endgenerate
    wire [15:0] absolute = position + token;
    wire [27:0] key_words = {18'd0, i_head_words} << (@LOG_COLUMNS - @LOG_LANES);
    wire [27:0] key_block = ({12'd0, absolute} >> @LOG_COLUMNS) * key_words;
    wire [27:0] sink_cache = (i_sink == KEYS)
        ? head_cache + key_block + ({18'd0, sink_in_head} << (@LOG_COLUMNS - @LOG_LANES))
        : head_cache + ({12'd0, absolute} >> @LOG_LANES);
    always @(posedge clk) begin
        one_valid <= sink_issue;
        one_first <= sink_in_head == 10'd0;
        one_last <= sink_last;
        one_head <= sink_head;
        one_row <= (i_sink == TOKEN_ROWS) ? (stored & (ROWS - 1)) : row_base + {10'd0, sharer};
        one_to <= (i_sink == TOKEN_ROWS) ? group_operand + {6'd0, sink_word} : head_operand + {6'd0, sink_in_head};
        one_index <= (i_sink == TOKEN_ROWS) ? group_index : head_index;
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

    // ---- sequence
    wire begin_pass = !issuing && valid == 11'd0;
    always @(posedge clk) begin
        if (restart) done <= 12'd0;
        if (issuing) begin
            word <= word + 10'd1;
            if (in_head == i_head_words - 10'd1) begin
                in_head <= 10'd0;
                head <= head + 8'd1;
            end else in_head <= in_head + 10'd1;
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
                part_first <= 10'd0;
                in_head <= 10'd0;
                head <= 8'd0;
                state <= PART;
            end
            PART: begin
                word <= 10'd0;
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
                    word <= 10'd0;
                    issuing <= 1'b1;
                    state <= SQUARE;
                end
            end
            SQUARE: begin
                if (valid[3]) squares <= squares + word_squares;
                if (root_start) state <= ROOT;
            end
            ROOT: if (root_valid) begin
                word <= 10'd0;
                in_head <= 10'd0;
                head <= part;
                issuing <= 1'b1;
                state <= MAIN;
            end
            MAIN: if (last[11]) begin
                part <= part + 8'd1;
                part_first <= part_first + i_words;
                if (part == i_parts - 8'd1) begin
                    total_words <= part_first + i_words;
                    sinking <= 1'b1;
                    sink_word <= 10'd0;
                    sink_in_head <= 10'd0;
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
                angle_at <= angle_at + {6'd0, i_head_words};
                part <= 8'd0;
                part_first <= 10'd0;
                in_head <= 10'd0;
                head <= 8'd0;
                if (i_sink == TOKEN_ROWS && (stored & (ROWS - 1)) == ROWS - 1) begin
                    group_operand <= group_operand + {6'd0, total_words};
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
            sink_word <= sink_word + 10'd1;
            if (sink_last) sinking <= 1'b0;
            if (i_sink == VALUES) head_cache <= head_cache + {12'd0, i_channel_stride};
            if (head_last) begin
                sink_in_head <= 10'd0;
                sink_head <= sink_head + 8'd1;
                head_cache <= cache_next;
                if (sharer == i_sharing - 6'd1) begin
                    sharer <= 6'd0;
                    head_operand <= head_operand + {6'd0, i_head_words};
                    head_index <= head_index + 8'd1;
                end else sharer <= sharer + 6'd1;
            end else sink_in_head <= sink_in_head + 10'd1;
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
endmodule
"""


def vector(shape: Shape) -> str:
    """The module `vector`."""
    used = {name for name, _ in VECTORED} - {"op", "head", "wait_matrix", "wait_vector"}
    return fill(TEXT, shape, VECTORED=decoder(VECTORED, "instruction", only=used))
