"""What the vector unit does with maps of images, in overlays for them; what stands there in all others."""

from __future__ import annotations

SOURCE = """
    // ---- the source in the order of pooling
    wire pooling = i_op[0] && m_pool_size != 4'd0;
    wire [15:0] pool_address;
    wire pool_first, pool_last, pool_all;
    wire pool_inside, pool_place_first, pool_place_last;
    window pool_window (
        .clk(clk), .start(state == PART), .step(issuing), .channel_words(m_channel_words),
        .kernel_rows(m_pool_size), .kernel_columns(m_pool_size), .stride(m_pool_stride), .padding(3'd0),
        .rows(7'h7f), .columns(7'h7f), .out_rows(m_rows), .out_columns(m_columns), .row_words(m_pool_row_words),
        .address(pool_address), .inside(pool_inside), .window_first(pool_first), .window_last(pool_last),
        .place_first(pool_place_first), .place_last(pool_place_last), .last(pool_all)
    );
    wire [15:0] source_word = pooling ? pool_address : {4'd0, all_words};
    wire last_word = pooling ? pool_all : word == i_words - 12'd1;
    reg [11:1] opens, closes;
    reg pooled_1, pooled_2, pooled_last_1, pooled_last_2;
    reg [11:0] pooled_word;
    always @(posedge clk) begin
        opens <= {opens[10:1], pool_first};
        closes <= {closes[10:1], pool_last};
        pooled_1 <= valid[11] && closes[11] && pooling;
        pooled_2 <= pooled_1;
        pooled_last_1 <= last[11];
        pooled_last_2 <= pooled_last_1;
        if (state == PART) pooled_word <= 12'd0;
        else if (pooled_2) pooled_word <= pooled_word + 12'd1;
        if (rst) begin
            pooled_1 <= 1'b0;
            pooled_2 <= 1'b0;
        end
    end"""

PLAIN_SOURCE = """
    wire [15:0] source_word = {4'd0, all_words};
    wire last_word = word == i_words - 12'd1;"""

MADE = """
    wire [COLUMNS*24-1:0] pooled;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : pool
            pool_lane pool_lane (
                .clk(clk), .valid(valid[11]), .first(opens[11]), .value(values[c*24 +: 24]), .mean(m_pool_mean),
                .mantissa(i_second[14:0]), .shift(i_multiply_shift), .result(pooled[c*24 +: 24])
            );
        end
    endgenerate
    wire line_write = (pooling ? pooled_2 : valid[11]) && state == MAIN;
    wire [COLUMNS*24-1:0] made = pooling ? pooled : values;
    wire [11:0] made_word = pooling ? pooled_word : t[11];
    wire [7:0] made_head = pooling ? 8'd0 : n[11];
    wire in_head_first = pooling ? pooled_word == 12'd0 : h[11] == 12'd0;
    wire made_last = pooling ? pooled_2 && pooled_last_2 : last[11];"""

PLAIN_MADE = """
    wire line_write = valid[11] && state == MAIN;
    wire [COLUMNS*24-1:0] made = values;
    wire [11:0] made_word = t[11];
    wire [7:0] made_head = n[11];
    wire in_head_first = h[11] == 12'd0;
    wire made_last = last[11];"""

GATHER = """
    // ---- windows of a map as rows of operands
    wire gathering = i_sink == GATHERED;
    wire [15:0] gather_address;
    wire gather_inside, gather_first, gather_last, gather_all, gather_window_first, gather_window_last;
    window gather_window (
        .clk(clk), .start(state == MAIN && made_last), .step(sink_issue), .channel_words(m_channel_words),
        .kernel_rows(m_kernel_rows), .kernel_columns(m_kernel_columns), .stride(m_stride_), .padding(m_padding),
        .rows(m_rows), .columns(m_columns), .out_rows(m_out_rows), .out_columns(m_out_columns),
        .row_words(m_row_words), .address(gather_address), .inside(gather_inside),
        .window_first(gather_window_first), .window_last(gather_window_last), .place_first(gather_first),
        .place_last(gather_last), .last(gather_all)
    );
    wire [15:0] line_at = gathering ? gather_address : {4'd0, sink_word};
    wire sink_last = gathering ? gather_all : sink_word == total_words - 12'd1;
    reg [15:0] place, place_operand, place_word;   // of the result; its group's first operand; word of its row
    reg one_inside;
    always @(posedge clk) begin
        one_inside <= !gathering || gather_inside;
        if (state == MAIN) begin
            place <= 16'd0;
            place_operand <= group_operand;
            place_word <= 16'd0;
        end else if (sink_issue) begin
            place_word <= gather_last ? 16'd0 : place_word + 16'd1;
            if (gather_last) begin
                place <= place + 16'd1;
                if ((place & (ROWS - 1)) == ROWS - 1) place_operand <= place_operand + place_word + 16'd1;
            end
        end
    end
    wire row_first = gathering ? gather_first : sink_in_head == 12'd0;
    wire [15:0] token_row = (gathering ? place : stored) & (ROWS - 1);
    wire [15:0] token_to = gathering ? place_operand + place_word : group_operand + {4'd0, sink_word};"""

PLAIN_GATHER = """
    wire gathering = 1'b0;
    wire [15:0] line_at = {4'd0, sink_word};
    wire sink_last = sink_word == total_words - 12'd1;
    wire one_inside = 1'b1;
    wire row_first = sink_in_head == 12'd0;
    wire [15:0] token_row = stored & (ROWS - 1);
    wire [15:0] token_to = group_operand + {4'd0, sink_word};"""


def parts(maps: bool) -> dict[str, str]:
    """What is put into the vector unit's Verilog, by name."""
    found = {"SOURCE": SOURCE, "MADE": MADE, "GATHER": GATHER}
    plain = {"SOURCE": PLAIN_SOURCE, "MADE": PLAIN_MADE, "GATHER": PLAIN_GATHER}
    return found if maps else plain
