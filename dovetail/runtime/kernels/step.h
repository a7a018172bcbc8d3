// A Llama-type decoder as one call executes it: where its weights lie, gathered once. Mirrored in step.py.
#pragma once
#include "doors.h"
#include "kernels.h"

namespace dovetail {

struct Norm {
    const float* weight;  // null: there is none
    double epsilon;
};

struct Weights {  // of a product, floats or packed
    const Floating* floating;
    const Matrix* packed;
    int64_t how;  // of packed ones, as in products.cpp
};

struct DecoderLayer {
    Norm before, behind, q, k;      // of the layer's two halves; of the channels of each query and key
    Weights qkv, out, pair, down;   // pair: gate, then up
    int64_t sight;
};

struct Decoder {
    int64_t layers, hidden, heads, kv_heads, channels, width, vocabulary;
    const float* embedding;         // [vocabulary][hidden]
    const DecoderLayer* layer;
    Norm last;
};

inline void multiply(const Weights& w, const Variant& with, const float* from, int64_t tokens, float* to, int threads) {
    if (w.packed) product(*w.packed, with, from, tokens, to, int(w.how), threads);
    else dense(*w.floating, with, from, tokens, to, threads);
}

// Which new tokens each new token sees and the first old one, as in `Attending`.
struct Sight {
    const uint8_t* visible;
    int64_t visible_stride;
    const int64_t* first;
};

// New tokens of some sequences.
struct Pass {
    int64_t batch, tokens;
    const int64_t *ids, *positions;  // [sequence][token]
    int64_t angles;                  // positions that there are angles of
    const float *cosines, *sines;    // [position][channels]; of sines the first half is negative
    int64_t bits, size, share;       // as in `Attending`
    const Stretch* stretches;        // [layer][sequence][KV head]
    const Sight* sights;
    float* queries;                  // [layer][sequence][token][head][channels], or null
    float* const* paid;              // of each layer `Attending::weights`; or null
    const int64_t* pitches;
    float* states;                   // [sequence][token][hidden], behind the last norm
};

// Medusa heads: state k = h + silu(turn_k [h, e]), e the embedding of the newest token over its root mean square.
struct GuessHeads {
    int64_t heads, hidden, vocabulary, ranks;  // ranks: guesses of a head that a tree may take
    double epsilon;
    const float* embedding;  // [vocabulary of tokens][hidden]
    const Floating* turn;    // [heads * hidden][2 hidden]
    Weights head;            // [vocabulary][hidden]
};

// The likeliest guesses of some sequences as trees, in the order in which they are worth a place.
struct Guesses {
    int64_t count, nodes;    // sequences; guesses of each at most
    const float* states;     // [sequence][hidden]
    const int64_t* newest;   // [sequence]
    int64_t *made, *parents, *tokens;  // [sequence]; [sequence][node]: parents count from 1, 0 is the newest token
    double* chances;         // [sequence][node]: to be on the path of what is right
};

}  // namespace dovetail
