"""The weight stream: fetches words far ahead of the matrix engine into a ring."""

from __future__ import annotations

from dovetail.accel.compile.instruction import ATTENTION, STREAMED, decoder
from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// Reads what matrix instructions need, in their order, as soon as the ring has room: one word a cycle.
module stream #(parameter COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire                       queue_valid,
    input  wire [255:0]               queue,
    output wire                       queue_pop,
    input  wire [11:0]                vector_done,
    input  wire [15:0]                position,
    input  wire [15:0]                tokens,
    input  wire [27:0]                list,            // address of the tokens, COLUMNS to a word
    // requests; tag 0 is for the ring, tag 1 for tokens
    output wire                       request,
    output wire                       request_tag,
    output wire [27:0]                request_address,
    input  wire                       request_ready,
    input  wire                       response_ring,
    input  wire                       response_list,
    input  wire [COLUMNS*LANES*8-1:0] response_data,
    // the ring
    input  wire [@RING:0]             ring_begin,
    output reg  [@RING:0]             ring_end,
    input  wire                       ring_read,
    input  wire [@RING-1:0]           ring_address,
    output wire [COLUMNS*LANES*8-1:0] ring_data,
    // the columns in which the rows of the embedding stand
    input  wire [@TILE-1:0]           slot_address,
    output wire [@LOG_COLUMNS-1:0]    slot
);
    localparam LOG_SPREAD = @LOG_COLUMNS - @LOG_LANES;
    localparam IDLE = 3'd0, SETUP = 3'd1, READ = 3'd2, LIST = 3'd3, WAIT = 3'd4, TOKEN = 3'd5, HEAD = 3'd6;
    localparam RUN = 2'd0, BY_POSITION = 2'd1, BY_TOKEN = 2'd2;

    reg [255:0] instruction;
@STREAMED
@ATTENTION
    wire [11:0] q_fetch_wait = queue[42:31];
    reg [2:0] state;
    assign queue_pop = state == IDLE && queue_valid && vector_done >= q_fetch_wait;

    reg [27:0] at;
    reg [27:0] left;
    reg [15:0] token;
    reg [@RING:0] asked;
    wire room = (asked - ring_begin) != {1'b1, @RING'd0};
    assign request = (state == READ && room) || state == LIST;
    assign request_tag = state == LIST;
    wire [15:0] place = position + token;
    assign request_address = (state == LIST) ? list + ({12'd0, place} >> @LOG_COLUMNS) : at;
    reg [COLUMNS*32-1:0] ids;
    wire [31:0] id = ids[(place & (COLUMNS - 1))*32 +: 32];
    reg [@LOG_COLUMNS-1:0] slots [0:(1 << @TILE)-1];
    assign slot = slots[slot_address];

    // ---- attention: keys one pass ahead of values
    reg [15:0] s_first, m_first;
    reg [7:0]  s_head, m_head;
    reg [1:0]  pending;
    reg [15:0] channels;          // blocks of values that are left of this head
    reg [27:0] value_at;
    reg [15:0] value_words_now;
    wire [15:0] at_once = {10'd0, a_tokens_at_once};
    wire s_left = s_first < tokens;
    wire m_left = m_first < tokens;
    wire [15:0] s_seen = position + ((tokens - s_first < at_once) ? tokens : s_first + at_once);
    wire [15:0] m_seen = position + ((tokens - m_first < at_once) ? tokens : m_first + at_once);
    wire [15:0] key_blocks = (s_seen + COLUMNS - 1) >> @LOG_COLUMNS;
    wire [15:0] value_words = (m_seen + LANES - 1) >> @LOG_LANES;
    wire [7:0]  head_words = a_steps >> LOG_SPREAD;

    genvar c;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : list_
            always @(posedge clk) if (response_list) ids[c*32 +: 32] <= response_data[c*LANES*8 +: 32];
        end
    endgenerate
    always @(posedge clk) begin
        if (response_ring) ring_end <= ring_end + 1'b1;
        case (state)
            IDLE: if (queue_pop) begin
                instruction <= queue;
                token <= 16'd0;
                s_first <= 16'd0; m_first <= 16'd0;
                s_head <= 8'd0; m_head <= 8'd0;
                pending <= 2'd0;
                channels <= 16'd0;
                state <= SETUP;
            end
            SETUP: case (i_mode)
                RUN: begin
                    at <= i_addr;
                    left <= {4'd0, i_count};
                    state <= READ;
                end
                BY_POSITION: begin
                    at <= i_addr + {12'd0, position} * {4'd0, i_count};
                    left <= {12'd0, tokens} * {4'd0, i_count};
                    state <= READ;
                end
                BY_TOKEN: state <= LIST;
                default: state <= HEAD;
            endcase
            LIST: if (request_ready) state <= WAIT;
            WAIT: if (response_list) state <= TOKEN;
            TOKEN: begin
                slots[token[@TILE-1:0]] <= id[@LOG_COLUMNS-1:0];
                at <= i_addr + {@LOG_COLUMNS'd0, id[27:@LOG_COLUMNS]} * {4'd0, i_count};
                left <= {4'd0, i_count};
                token <= token + 16'd1;
                state <= READ;
            end
            READ: if (request_ready && room) begin
                asked <= asked + 1'b1;
                at <= at + 28'd1;
                left <= left - 28'd1;
                if (left == 28'd1) case (i_mode)
                    BY_TOKEN: state <= (token == tokens) ? IDLE : ((place & (COLUMNS - 1)) == 0) ? LIST : TOKEN;
                    2'd3: if (channels > 16'd1) begin
                        channels <= channels - 16'd1;
                        value_at <= value_at + {12'd0, a_channel_stride};
                        at <= value_at + {12'd0, a_channel_stride};
                        left <= {12'd0, value_words_now};
                    end else begin
                        channels <= 16'd0;
                        state <= HEAD;
                    end
                    default: state <= IDLE;
                endcase
            end
            HEAD: if (s_left && !pending[1]) begin
                at <= i_addr + {20'd0, s_head} * {4'd0, i_count};
                left <= {12'd0, key_blocks} * {20'd0, a_steps};
                pending <= pending + 2'd1;
                if (s_head == a_heads - 8'd1) begin
                    s_head <= 8'd0;
                    s_first <= s_first + at_once;
                end else s_head <= s_head + 8'd1;
                state <= READ;
            end else if (m_left) begin
                at <= a_values + {20'd0, m_head} * {4'd0, i_count};
                value_at <= a_values + {20'd0, m_head} * {4'd0, i_count};
                left <= {12'd0, value_words};
                value_words_now <= value_words;
                channels <= {8'd0, head_words};
                pending <= pending - 2'd1;
                if (m_head == a_heads - 8'd1) begin
                    m_head <= 8'd0;
                    m_first <= m_first + at_once;
                end else m_head <= m_head + 8'd1;
                state <= READ;
            end else state <= IDLE;
            default: state <= IDLE;
        endcase
        if (rst) begin
            state <= IDLE;
            asked <= 0;
            ring_end <= 0;
        end
    end
    memory #(.WIDTH(COLUMNS*LANES*8), .ADDRESS(@RING)) ring (
        .clk(clk), .write(response_ring), .write_address(ring_end[@RING-1:0]), .write_data(response_data),
        .read(ring_read), .read_address(ring_address), .read_data(ring_data)
    );
endmodule
"""


def stream(shape: Shape) -> str:
    """The module `stream`."""
    streamed = decoder(STREAMED, "instruction", only={"mode", "addr", "count"})
    attention = decoder(
        ATTENTION, "instruction", "a_", only={"heads", "steps", "tokens_at_once", "values", "channel_stride"}
    )
    return fill(TEXT, shape, STREAMED=streamed, ATTENTION=attention)
