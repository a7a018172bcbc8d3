"""The C++ around the overlay: memory with bandwidth and latency, and a record of what the engines make."""

from __future__ import annotations

from dovetail.accel.compile.shape import Shape

TEXT = r"""// Runs the overlay on an image of memory.
//   overlay IMAGE TRACE program=A list=A prompt=N total=N latency=CYCLES bytes=N cycles=N [stall=SEED] [limit=CYCLES]
// Memory serves `bytes` bytes in `cycles` cycles, each word `latency` cycles after its request, in their order. With a
// seed, requests and responses wait at random besides. The image is written back with the tokens in it.
// TRACE is a file for records of what is written, or - for none.
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <csignal>
#include <deque>
#include <map>
#include <string>
#include <vector>
#include "Voverlay.h"
#include "verilated.h"

static const int WORD = @WORD, COLUMNS = @COLUMNS;
static volatile std::sig_atomic_t interrupted = 0;
static void on_interrupt(int) { interrupted = 1; }
struct Response { uint64_t due; int tag; uint32_t address; std::vector<uint8_t> data; };

// Ports of up to 64 bits are integers in Verilator's C++, wider ones arrays of 32-bit words.
template <class T> static const void* at(const T& port) { return &port; }

int main(int count, char** arguments) {
    std::map<std::string, uint64_t> option = {{"latency", 40}, {"bytes", WORD}, {"cycles", 1}};
    for (int i = 3; i < count; i++) {
        std::string text = arguments[i];
        size_t equals = text.find('=');
        option[text.substr(0, equals)] = strtoull(text.c_str() + equals + 1, nullptr, 10);
    }
    std::signal(SIGINT, on_interrupt);
    FILE* file = fopen(arguments[1], "rb");
    if (!file) { fprintf(stderr, "no image %s\n", arguments[1]); return 2; }
    fseek(file, 0, SEEK_END);
    std::vector<uint8_t> memory(ftell(file));
    rewind(file);
    if (fread(memory.data(), 1, memory.size(), file) != memory.size()) return 2;
    fclose(file);
    FILE* trace = strcmp(arguments[2], "-") ? fopen(arguments[2], "wb") : nullptr;

    VerilatedContext context;
    Voverlay top{&context};
    top.program_ = option["program"];
    top.list = option["list"];
    top.prompt = option["prompt"];
    top.total = option["total"];
    std::deque<Response> responses;
    uint64_t cycle = 0, read_words = 0, written_words = 0, credit = 0, random = option["stall"] * 2654435761u + 1;
    const uint64_t cost = WORD * option["cycles"];
    int last_position = -1, last_tokens = 0, matrix = 0, vector = 0;
    uint64_t pass_begin = 0, pass_words = 0;
    auto chance = [&](int percent) {
        random ^= random << 13; random ^= random >> 7; random ^= random << 17;
        return option["stall"] && int(random % 100) < percent;
    };
    auto pass_ends = [&]() {
        printf("pass position=%d tokens=%d cycles=%" PRIu64 " words=%" PRIu64 "\n", last_position, last_tokens,
               cycle - pass_begin, read_words + written_words - pass_words);
    };
    auto record = [&](int kind, uint32_t number, uint32_t address, const void* data, int bytes) {
        uint32_t position = top.trace_position, tokens = top.trace_tokens;
        uint32_t head[6] = {uint32_t(kind), position, tokens, number, address, uint32_t(bytes)};
        fwrite(head, 4, 6, trace);
        fwrite(data, 1, bytes, trace);
    };
    for (top.rst = 1; cycle < 4; cycle++) {
        top.clk = 1; top.eval();
        top.clk = 0; top.eval();
    }
    top.rst = 0;
    top.start = 1;
    cycle = 0;
    bool started = false;
    while (!interrupted && !(started && top.finished) && (!option["limit"] || cycle < option["limit"])) {
        credit = credit + option["bytes"];
        if (credit > cost + option["bytes"]) credit = cost + option["bytes"];
        top.response = !responses.empty() && responses.front().due <= cycle && !chance(30);
        if (top.response) {
            const Response& first = responses.front();
            top.response_tag = first.tag;
            memcpy((void*)at(top.response_data), memory.data() + uint64_t(first.address) * WORD, WORD);
            if (!first.data.empty()) memcpy((void*)at(top.response_data), first.data.data(), WORD);
            responses.pop_front();
        }
        top.request_ready = credit >= cost && !chance(30);
        if (top.request && top.request_ready) {
            credit -= cost;
            uint64_t where = uint64_t(top.request_address) * WORD;
            if (where + WORD > memory.size()) {
                fprintf(stderr, "address %u is outside memory in cycle %" PRIu64 "\n", top.request_address, cycle);
                return 3;
            }
            if (top.request_write) {
                written_words++;
                const uint8_t* data = (const uint8_t*)at(top.request_data);
                const uint8_t* strobe = (const uint8_t*)at(top.request_strobe);
                for (auto& waiting : responses)   // a read that was accepted before sees the old word
                    if (waiting.address == top.request_address && waiting.data.empty())
                        waiting.data.assign(&memory[where], &memory[where] + WORD);
                for (int i = 0; i < WORD; i++)
                    if (strobe[i / 8] >> (i % 8) & 1) memory[where + i] = data[i];
            } else {
                read_words++;
                responses.push_back({cycle + option["latency"], int(top.request_tag), top.request_address, {}});
            }
        }
        if (trace) {
            if (top.trace_rows)
                record(top.trace_rows, top.trace_matrix, top.trace_address, at(top.trace_data), COLUMNS * 3);
            if (top.trace_seen) record(16, top.trace_vector, top.trace_word, at(top.trace_values), COLUMNS * 3);
            if (top.trace_operand)
                record(32 + top.trace_operand, top.trace_vector, top.trace_operand_address, at(top.trace_operand_data),
                       COLUMNS);
        }
        if (last_position != int(top.trace_position)) {
            if (last_position >= 0)
                pass_ends();
            pass_begin = cycle; pass_words = read_words + written_words;
            last_position = top.trace_position;
        }
        last_tokens = top.trace_tokens;
        if (option["events"] && (top.trace_matrix != matrix || top.trace_vector != vector)) {
            matrix = top.trace_matrix;
            vector = top.trace_vector;
            printf("event %" PRIu64 " %d %d\n", cycle - pass_begin, matrix, vector);
        }
        top.clk = 1; top.eval();
        top.clk = 0; top.eval();
        cycle++;
        started = started || !top.finished;
        top.start = 0;
    }
    pass_ends();
    printf("total cycles=%" PRIu64 " read=%" PRIu64 " written=%" PRIu64 " finished=%d\n", cycle, read_words,
           written_words, int(top.finished));
    printf("tokens");
    for (uint64_t i = 0; i < option["total"] && (top.finished || i <= uint64_t(last_position)); i++) {
        uint32_t id;
        memcpy(&id, &memory[(option["list"] + i / COLUMNS) * WORD + (i % COLUMNS) * (WORD / COLUMNS)], 4);
        printf(" %u", id);
    }
    printf("\n");
    if (trace) fclose(trace);
    return interrupted ? 130 : top.finished ? 0 : 4;
}
"""


def harness(shape: Shape) -> str:
    """The program that runs the overlay."""
    return TEXT.replace("@WORD", str(shape.word)).replace("@COLUMNS", str(shape.columns))
