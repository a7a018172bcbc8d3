// A Llama-type decoder as one call executes it: where its weights lie, gathered once. Mirrored in step.py.
#pragma once
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

}  // namespace dovetail
