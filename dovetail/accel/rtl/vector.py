"""The vector unit: norms, rotary positions, gates and quantisation of one token's vector after the other."""

from __future__ import annotations

from dovetail.accel.compile.instruction import MAPPED, VECTORED, decoder
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl import vector_maps, vector_sequence, vector_sink
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
    localparam TOKEN_ROWS = 3'd0, HEAD_ROWS = 3'd1, KEYS = 3'd2, VALUES = 3'd3, GATHERED = 3'd4;

    reg [255:0] instruction;
@VECTORED
@MAPPED
    wire [11:0] q_wait_matrix = queue[16:5];
    reg [3:0] state;
    assign queue_pop = state == IDLE && queue_valid && matrix_done >= q_wait_matrix;

    // ---- one token, one part, one pass
    reg [15:0] token, stored;                    // its number in the tile, and where it goes
    reg [15:0] source_at, second_at, angle_at;
    reg [7:0]  part;
    reg [11:0]  part_first, total_words;          // words before this part; of all parts
    reg [11:0]  word, in_head;
    reg [7:0]  head;
    reg        issuing;
    wire [11:0] all_words = part_first + word;

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
    reg [11:0] w [1:11];      // word of the part
    reg [11:0] t [1:11];      // of the vector
    reg [11:0] h [1:11];      // of the head
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
@SOURCE
    assign source_address = source_at + source_word;
    wire [11:0] weight_at = (state == CONFIGURE || state == IDLE) ? i_constants : i_constants + 12'd1 + w[3];
    assign weight_address = weight_at[@CONSTANTS-1:0];
    wire [15:0] rotary_at = angle_at + {4'd0, h[5]};
    wire [11:0] bias_at = i_rotate ? rotary_at[11:0] : i_constants + 12'd1 + i_words + w[4];
    assign bias_address = bias_at[@CONSTANTS-1:0];
    wire [15:0] second_word = second_at + {4'd0, t[9]};
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
@SINK
@SEQUENCE
endmodule
"""


def vector(shape: Shape) -> str:
    """The module `vector`."""
    used = {name for name, _ in VECTORED} - {"head", "wait_matrix", "wait_vector"}
    mapped = {name for name, _ in MAPPED} - {name for name, _ in VECTORED} if shape.maps else set()
    text = TEXT.replace("@SINK", vector_sink.TEXT).replace("@SEQUENCE", vector_sequence.TEXT)
    for name, part in vector_maps.parts(shape.maps).items():
        text = text.replace(f"@{name}\n", f"{part}\n")
    fields = decoder(VECTORED, "instruction", only=used)
    return fill(text, shape, VECTORED=fields, MAPPED=decoder(MAPPED, "instruction", "m_", only=mapped))
