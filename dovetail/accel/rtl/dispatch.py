"""The sequencer: fetches instructions, hands them to the engines, and goes from pass to pass and token to token."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

FIFO = """
// A queue of 2^ADDRESS entries; the first is at `front`.
module fifo #(parameter WIDTH = 256, ADDRESS = 3) (
    input  wire             clk,
    input  wire             clear,
    input  wire             push,
    input  wire [WIDTH-1:0] data,
    output wire             full,
    input  wire             pop,
    output wire             valid,
    output wire [WIDTH-1:0] front
);
    reg [WIDTH-1:0] entries [0:(1 << ADDRESS)-1];
    reg [ADDRESS:0] head, tail;
    assign valid = head != tail;
    assign full = (tail - head) == {1'b1, {ADDRESS{1'b0}}};
    assign front = entries[head[ADDRESS-1:0]];
    always @(posedge clk) begin
        if (push) entries[tail[ADDRESS-1:0]] <= data;
        if (clear) begin
            head <= 0;
            tail <= 0;
        end else begin
            if (push) tail <= tail + 1'b1;
            if (pop) head <= head + 1'b1;
        end
    end
endmodule
"""

TEXT = """
// A pass runs the whole program over the next tokens of the list: up to a tile of the prompt, then one at a time. The
// token that a pass chooses is written to the list, where the next pass finds it.
module dispatch #(parameter COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire                       start,
    input  wire [27:0]                program_,
    input  wire [27:0]                list,
    input  wire [15:0]                prompt,          // tokens that are in the list
    input  wire [15:0]                total,           // tokens at the end
    output reg                        finished,
    // instructions
    output wire                       request,
    output wire [27:0]                request_address,
    input  wire                       request_ready,
    input  wire                       response,
    input  wire [COLUMNS*LANES*8-1:0] response_data,
    // engines
    output wire [255:0]               instruction,
    output wire                       to_matrix,
    output wire                       to_vector,
    input  wire                       matrix_full,
    input  wire                       vector_full,
    input  wire [11:0]                matrix_done,
    input  wire [11:0]                vector_done,
    output reg                        restart,
    output reg  [15:0]                position,
    output reg  [15:0]                tokens,
    // the chosen token, to the list
    input  wire [19:0]                chosen,
    output wire                       write,
    output wire [27:0]                write_address,
    output wire [COLUMNS*LANES*8-1:0] write_data,
    output wire [COLUMNS*LANES-1:0]   write_strobe,
    input  wire                       write_ready
);
    localparam IDLE = 3'd0, PASS = 3'd1, RUN = 3'd2, FLUSH = 3'd3, WRITE = 3'd4;
    localparam WORDS = @INSTRUCTION_WORDS;
    reg [2:0] state;
    reg [11:0] matrix_sent, vector_sent;
    wire [15:0] rest = prompt - position;
    wire in_prompt = position < prompt;
    wire choosing = position + tokens >= prompt;

    // ---- instructions on their way: at most 8
    reg [27:0] at;
    reg [5:0]  ahead, outstanding;      // words asked for and not executed; asked for and not here
    wire front_valid, full;
    wire push;
    wire [255:0] arrived;
    wire pop;
    assign request = state == RUN && ahead < 6'd@AHEAD;
    assign request_address = at;
@ASSEMBLE
    fifo instructions (
        .clk(clk), .clear(state == PASS || state == IDLE), .push(push), .data(arrived), .full(full),
        .pop(pop), .valid(front_valid), .front(instruction)
    );
    wire [3:0] op = instruction[3:0];
    wire ends = op == 4'd0 || (instruction[4] && !choosing);
    wire executes = state == RUN && front_valid && !ends;
    assign to_vector = executes && op[3] && !vector_full;
    assign to_matrix = executes && !op[3] && !matrix_full;
    assign pop = to_vector || to_matrix;

    wire [15:0] next = position + tokens;
    assign write = state == WRITE;
    assign write_address = list + ({12'd0, next} >> @LOG_COLUMNS);
    genvar c;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : slice
            assign write_data[c*LANES*8 +: LANES*8] = {{(LANES*8-20){1'b0}}, chosen};
            assign write_strobe[c*LANES +: LANES] = {LANES{(next & (COLUMNS - 1)) == c}};
        end
    endgenerate

    always @(posedge clk) begin
        restart <= 1'b0;
        ahead <= ahead + {5'd0, request && request_ready} - (pop ? 6'd@INSTRUCTION_WORDS : 6'd0);
        outstanding <= outstanding + {5'd0, request && request_ready} - {5'd0, response};
        if (request && request_ready) at <= at + 28'd1;
        if (to_matrix) matrix_sent <= matrix_sent + 12'd1;
        if (to_vector) vector_sent <= vector_sent + 12'd1;
        case (state)
            IDLE: if (start) begin
                position <= 16'd0;
                finished <= 1'b0;
                state <= PASS;
            end
            PASS: begin
                tokens <= !in_prompt ? 16'd1 : (rest < 16'd@MOST) ? rest : 16'd@MOST;
                at <= program_;
                ahead <= 6'd0;
                matrix_sent <= 12'd0;
                vector_sent <= 12'd0;
                restart <= 1'b1;
                state <= RUN;
            end
            RUN: if (front_valid && ends) state <= FLUSH;
            FLUSH: if (matrix_done == matrix_sent && vector_done == vector_sent && outstanding == 6'd0) begin
                if (choosing) state <= WRITE;
                else begin
                    position <= next;
                    state <= PASS;
                end
            end
            WRITE: if (write_ready) begin
                position <= next;
                finished <= next + 16'd1 == total;
                state <= (next + 16'd1 == total) ? IDLE : PASS;
            end
            default: state <= IDLE;
        endcase
        if (rst) begin
            state <= IDLE;
            finished <= 1'b0;
            outstanding <= 6'd0;
            ahead <= 6'd0;
        end
    end
endmodule
"""

ONE_WORD = """    assign push = response;
    assign arrived = response_data[255:0];"""

SEVERAL = """    reg [255:0] gathered;
    reg [3:0] count;
    assign push = response && count == WORDS - 1;
    assign arrived = {response_data, gathered[255:COLUMNS*LANES*8]};
    always @(posedge clk) begin
        if (response) begin
            gathered <= arrived;
            count <= (count == WORDS - 1) ? 4'd0 : count + 4'd1;
        end
        if (state == PASS || rst) count <= 4'd0;
    end"""


def fifo(shape: Shape) -> str:
    """The module `fifo`."""
    return fill(FIFO, shape)


def dispatch(shape: Shape) -> str:
    """The module `dispatch`."""
    assemble = ONE_WORD if shape.instruction_words == 1 else SEVERAL
    return fill(
        TEXT,
        shape,
        ASSEMBLE=assemble,
        AHEAD=8 * shape.instruction_words,
        MOST=shape.tile,
    )
