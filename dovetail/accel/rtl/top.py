"""The overlay: engines, memories between them, and one port to memory."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape
from dovetail.accel.rtl.text import fill

TEXT = """
// A token goes in, the next token comes out. Requests of the port are words of COLUMNS * LANES bytes; responses come in
// the order of the requests, with their tag. A write is done when it is taken.
module overlay #(parameter ROWS = @ROWS, COLUMNS = @COLUMNS, LANES = @LANES) (
    input  wire                       clk,
    input  wire                       rst,
    input  wire                       start,
    input  wire [27:0]                program_,
    input  wire [27:0]                list,
    input  wire [15:0]                prompt,
    input  wire [15:0]                total,
    output wire                       finished,
    // the memory port
    output wire                       request,
    output wire                       request_write,
    output wire [1:0]                 request_tag,
    output wire [27:0]                request_address,
    output wire [COLUMNS*LANES*8-1:0] request_data,
    output wire [COLUMNS*LANES-1:0]   request_strobe,
    input  wire                       request_ready,
    input  wire                       response,
    input  wire [1:0]                 response_tag,
    input  wire [COLUMNS*LANES*8-1:0] response_data,
    // what the engines make, to compare
    output wire [15:0]                trace_position,
    output wire [15:0]                trace_tokens,
    output wire [11:0]                trace_matrix,       // instructions of this pass that are done
    output wire [3:0]                 trace_rows,         // to: residual stream, halves, logits, scores
    output wire [15:0]                trace_address,
    output wire [COLUMNS*24-1:0]      trace_data,
    output wire [11:0]                trace_vector,
    output wire                       trace_seen,
    output wire [15:0]                trace_word,
    output wire [COLUMNS*24-1:0]      trace_values,
    output wire [ROWS-1:0]            trace_operand,
    output wire [15:0]                trace_operand_address,
    output wire [COLUMNS*8-1:0]       trace_operand_data
);
    wire [15:0] position, tokens;
    wire restart;
    wire [11:0] matrix_done, vector_done;

    // ---- the port: writes first, then instructions, then the weight stream
    wire cache_write, token_write, code_request, stream_request, stream_tag;
    wire [27:0] cache_address, token_address, code_address, stream_address;
    wire [COLUMNS*LANES*8-1:0] cache_data, token_data;
    wire [COLUMNS*LANES-1:0] cache_strobe, token_strobe;
    assign request = cache_write || token_write || code_request || stream_request;
    assign request_write = cache_write || token_write;
    assign request_tag = code_request ? 2'd2 : {1'b0, stream_tag};
    assign request_address = cache_write ? cache_address : token_write ? token_address
        : code_request ? code_address : stream_address;
    assign request_data = cache_write ? cache_data : token_data;
    assign request_strobe = cache_write ? cache_strobe : token_strobe;
    wire code_ready = request_ready && !request_write;
    wire stream_ready = code_ready && !code_request;

    // ---- instructions
    wire [255:0] instruction, matrix_instruction, vector_instruction, stream_instruction;
    wire to_matrix, to_vector, matrix_full, vector_full, stream_full;
    wire matrix_valid, vector_valid, stream_valid, matrix_pop, vector_pop, stream_pop;
    wire [19:0] chosen;
    dispatch #(.COLUMNS(COLUMNS), .LANES(LANES)) dispatch (
        .clk(clk), .rst(rst), .start(start), .program_(program_), .list(list), .prompt(prompt), .total(total),
        .finished(finished), .request(code_request), .request_address(code_address), .request_ready(code_ready),
        .response(response && response_tag == 2'd2), .response_data(response_data), .instruction(instruction),
        .to_matrix(to_matrix), .to_vector(to_vector), .matrix_full(matrix_full || stream_full),
        .vector_full(vector_full), .matrix_done(matrix_done), .vector_done(vector_done), .restart(restart),
        .position(position), .tokens(tokens), .chosen(chosen), .write(token_write), .write_address(token_address),
        .write_data(token_data), .write_strobe(token_strobe), .write_ready(request_ready && !cache_write)
    );
    fifo matrix_queue (
        .clk(clk), .clear(rst), .push(to_matrix), .data(instruction), .full(matrix_full),
        .pop(matrix_pop), .valid(matrix_valid), .front(matrix_instruction)
    );
    fifo stream_queue (
        .clk(clk), .clear(rst), .push(to_matrix), .data(instruction), .full(stream_full),
        .pop(stream_pop), .valid(stream_valid), .front(stream_instruction)
    );
    fifo vector_queue (
        .clk(clk), .clear(rst), .push(to_vector), .data(instruction), .full(vector_full),
        .pop(vector_pop), .valid(vector_valid), .front(vector_instruction)
    );

    // ---- the weight stream
    wire [@RING:0] ring_begin, ring_end;
    wire ring_read;
    wire [@RING-1:0] ring_address;
    wire [COLUMNS*LANES*8-1:0] ring_data;
    wire [@TILE-1:0] slot_address;
    wire [@LOG_COLUMNS-1:0] slot;
    stream #(.COLUMNS(COLUMNS), .LANES(LANES)) stream (
        .clk(clk), .rst(rst), .queue_valid(stream_valid), .queue(stream_instruction), .queue_pop(stream_pop),
        .vector_done(vector_done), .position(position), .tokens(tokens), .list(list), .request(stream_request),
        .request_tag(stream_tag), .request_address(stream_address), .request_ready(stream_ready),
        .response_ring(response && response_tag == 2'd0), .response_list(response && response_tag == 2'd1),
        .response_data(response_data), .ring_begin(ring_begin), .ring_end(ring_end), .ring_read(ring_read),
        .ring_address(ring_address), .ring_data(ring_data), .slot_address(slot_address), .slot(slot)
    );

    // ---- matrix engine and softmax
    wire operand_read;
    wire [@OPERANDS-1:0] operand_at, operand_to;
    wire [ROWS*COLUMNS*8-1:0] operand_data, weight_data;
    wire [@BLOCKS:0] weight_at;
    wire [7:0] exponent_at, exponent_to;
    wire [ROWS*5-1:0] exponent_data;
    wire [@STREAM-1:0] add_address;
    wire [COLUMNS*24-1:0] add_data, row_data;
    wire write_stream, write_halves, write_scores, write_logits, write_constants, logits_first;
    wire [15:0] row_address, scores_position;
    wire [19:0] logits_limit;
    wire [@CONSTANTS-1:0] constants_address;
    wire [COLUMNS*32-1:0] constants_data;
    wire scores_done, scores_buffer, mix_buffer;
    wire [@LOG_ROWS:0] scores_rows;
    wire [@BLOCKS:0] scores_blocks;
    wire [1:0] weights_ready, weights_taken;
    wire [ROWS*17-1:0] reciprocals;
    wire [ROWS*5-1:0] reciprocal_bits;
    matrix #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) matrix (
        .clk(clk), .rst(rst), .queue_valid(matrix_valid), .queue(matrix_instruction), .queue_pop(matrix_pop),
        .vector_done(vector_done), .done(matrix_done), .restart(restart), .position(position), .tokens(tokens),
        .ring_end(ring_end), .ring_begin(ring_begin), .ring_read(ring_read), .ring_address(ring_address),
        .ring_data(ring_data), .slot_address(slot_address), .slot(slot), .operand_read(operand_read),
        .operand_address(operand_at), .operand_data(operand_data), .weight_address(weight_at),
        .weight_data(weight_data), .exponent_address(exponent_at), .exponents(exponent_data),
        .add_address(add_address), .add_data(add_data), .write_stream(write_stream), .write_halves(write_halves),
        .write_scores(write_scores), .write_logits(write_logits), .write_address(row_address), .write_data(row_data),
        .logits_limit(logits_limit), .logits_first(logits_first), .scores_position(scores_position),
        .write_constants(write_constants), .constants_address(constants_address), .constants_data(constants_data),
        .scores_done(scores_done), .scores_buffer(scores_buffer), .scores_rows(scores_rows),
        .scores_blocks(scores_blocks), .weights_ready(weights_ready), .weights_taken(weights_taken),
        .reciprocals(reciprocals), .reciprocal_bits(reciprocal_bits), .mix_buffer(mix_buffer)
    );
    softmax #(.ROWS(ROWS), .COLUMNS(COLUMNS)) softmax (
        .clk(clk), .rst(rst), .write(write_scores), .write_address(row_address[@BLOCKS+@LOG_ROWS:0]),
        .write_data(row_data), .write_position(scores_position), .scores_done(scores_done),
        .scores_buffer(scores_buffer), .scores_rows(scores_rows), .scores_blocks(scores_blocks),
        .ready(weights_ready), .taken(weights_taken), .read(operand_read), .read_address(weight_at),
        .weights(weight_data), .mix_buffer(mix_buffer), .reciprocals(reciprocals), .reciprocal_bits(reciprocal_bits)
    );
    choose #(.COLUMNS(COLUMNS)) choose (
        .clk(clk), .valid(write_logits), .first(logits_first), .block(row_address), .logits(row_data),
        .limit(logits_limit), .token(chosen)
    );

    // ---- memories
    wire [15:0] source_address;
    wire [@HALVES-1:0] second_address;
    wire [COLUMNS*24-1:0] stream_data;
    wire [COLUMNS*16-1:0] halves, halves_data, second_data;
    wire [@CONSTANTS-1:0] weight_address, bias_address;
    wire [COLUMNS*32-1:0] norm_data, bias_data;
    genvar c;
    generate
        for (c = 0; c < COLUMNS; c = c + 1) begin : half_
            assign halves[c*16 +: 16] = row_data[c*24 +: 16];
        end
    endgenerate
    memory #(.WIDTH(COLUMNS*24), .ADDRESS(@STREAM)) residual_for_matrix (
        .clk(clk), .write(write_stream), .write_address(row_address[@STREAM-1:0]), .write_data(row_data),
        .read(1'b1), .read_address(add_address), .read_data(add_data)
    );
    memory #(.WIDTH(COLUMNS*24), .ADDRESS(@STREAM)) residual_for_vector (
        .clk(clk), .write(write_stream), .write_address(row_address[@STREAM-1:0]), .write_data(row_data),
        .read(1'b1), .read_address(source_address[@STREAM-1:0]), .read_data(stream_data)
    );
    memory #(.WIDTH(COLUMNS*16), .ADDRESS(@HALVES)) halves_first (
        .clk(clk), .write(write_halves), .write_address(row_address[@HALVES-1:0]), .write_data(halves),
        .read(1'b1), .read_address(source_address[@HALVES-1:0]), .read_data(halves_data)
    );
    memory #(.WIDTH(COLUMNS*16), .ADDRESS(@HALVES)) halves_second (
        .clk(clk), .write(write_halves), .write_address(row_address[@HALVES-1:0]), .write_data(halves),
        .read(1'b1), .read_address(second_address), .read_data(second_data)
    );
    memory #(.WIDTH(COLUMNS*32), .ADDRESS(@CONSTANTS)) constants_first (
        .clk(clk), .write(write_constants), .write_address(constants_address), .write_data(constants_data),
        .read(1'b1), .read_address(weight_address), .read_data(norm_data)
    );
    memory #(.WIDTH(COLUMNS*32), .ADDRESS(@CONSTANTS)) constants_second (
        .clk(clk), .write(write_constants), .write_address(constants_address), .write_data(constants_data),
        .read(1'b1), .read_address(bias_address), .read_data(bias_data)
    );
    wire [ROWS-1:0] operand_write;
    wire [COLUMNS*8-1:0] quantised;
    wire exponent_write;
    wire [4:0] exponent;
    operands #(.ROWS(ROWS), .COLUMNS(COLUMNS), .ADDRESS(@OPERANDS)) operands (
        .clk(clk), .write(operand_write), .write_address(operand_to), .write_data(quantised),
        .read(operand_read), .read_address(operand_at), .read_data(operand_data)
    );
    exponents #(.ROWS(ROWS)) exponents (
        .clk(clk), .write(operand_write & {ROWS{exponent_write}}), .write_address(exponent_to),
        .write_data(exponent), .read_address(exponent_at), .read_data(exponent_data)
    );

    // ---- vector unit
    wire seen;
    wire [@LINE-1:0] seen_word;
    wire [COLUMNS*24-1:0] seen_data;
    vector #(.ROWS(ROWS), .COLUMNS(COLUMNS), .LANES(LANES)) vector (
        .clk(clk), .rst(rst), .queue_valid(vector_valid), .queue(vector_instruction), .queue_pop(vector_pop),
        .matrix_done(matrix_done), .done(vector_done), .restart(restart), .position(position), .tokens(tokens),
        .source_address(source_address), .stream_data(stream_data), .halves_data(halves_data),
        .second_address(second_address), .second_data(second_data), .weight_address(weight_address),
        .weight_data(norm_data), .bias_address(bias_address), .bias_data(bias_data), .operand_write(operand_write),
        .operand_address(operand_to), .operand_data(quantised), .exponent_write(exponent_write),
        .exponent_address(exponent_to), .exponent_data(exponent), .cache_write(cache_write),
        .cache_ready(request_ready), .cache_address(cache_address), .cache_data(cache_data),
        .cache_strobe(cache_strobe), .seen(seen), .seen_word(seen_word), .seen_data(seen_data)
    );

    assign trace_position = position;
    assign trace_tokens = tokens;
    assign trace_matrix = matrix_done;
    assign trace_rows = {write_scores, write_logits, write_halves, write_stream};
    assign trace_address = row_address;
    assign trace_data = row_data;
    assign trace_vector = vector_done;
    assign trace_seen = seen;
    assign trace_word = {{(16-@LINE){1'b0}}, seen_word};
    assign trace_values = seen_data;
    assign trace_operand = operand_write;
    assign trace_operand_address = {{(16-@OPERANDS){1'b0}}, operand_to};
    assign trace_operand_data = quantised;
endmodule
"""


def overlay(shape: Shape) -> str:
    """The module `overlay`, the top."""
    return fill(TEXT, shape)
