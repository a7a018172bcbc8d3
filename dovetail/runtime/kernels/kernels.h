// What the files of this folder share: how a packed matrix lies in memory, and what each instruction set must provide.
//
// A matrix of n rows (outputs) and k columns (inputs) is cut into tiles of 16 rows, one for each lane of the widest
// vector. The columns are cut into blocks, each padded to whole steps. A step is 64 bytes: 4 bytes of every row of the
// tile, which are 4 columns of 8 bits or 8 columns of 4 bits (low nibbles: the first four). One vector load then
// holds 16 rows, one broadcast of 4 activations serves all of them, and sums never have to be added across lanes.
//
// Codes are unsigned (weight + 128, or weight + 8), because the instructions that multiply bytes want one unsigned
// side; `offset` takes the excess back. A block ends where integer sums turn into floats: weights and activations
// each have one scale there.
#pragma once
#include <cstdint>

namespace dovetail {

constexpr int kRows = 16;        // of a tile
constexpr int kStep = 64;        // bytes

struct Matrix {           // mirrored in library.py
    int64_t rows, columns;
    int64_t block;          // columns of a block
    int64_t bits;           // 8 or 4: how codes are stored
    int64_t grouped;        // 1: scales of every block; 0: one for the whole row
    const uint8_t* codes;   // [tile][block][step][64]
    const float* scales;    // [tile][block or 1][16]
    const float* zeros;     // as the scales: what is taken off the integers first; or null
    const float* bias;      // [rows] or null

    int64_t tiles() const { return (rows + kRows - 1) / kRows; }
    int64_t blocks() const { return (columns + block - 1) / block; }
    int64_t step_columns() const { return 32 / bits; }
    int64_t steps() const { return (block + step_columns() - 1) / step_columns(); }
    int64_t padded() const { return steps() * step_columns(); }  // columns of a block in memory
};

struct Floating {         // a matrix as torch holds it; mirrored in library.py
    int64_t rows, columns;
    const float* weights;   // [row][column]
    const float* bias;      // [rows] or null
};

// Activations of some tokens, padded block by block with zeros. Floats, or integers with what makes them floats again.
struct Tokens {
    int64_t count;
    int64_t stride;            // elements from token to token, blocks * padded
    const float* floats;       // exact products read these
    const int8_t* integers;    // integer products these,
    const float* scales;       // [token][block]
    const float* sums;         // [token][block]: of the integers or floats; where the matrix has zeros
    const int32_t* offsets;    // [token][block]: minus the excess of the codes times the sum of the integers
};

struct Rounded {  // where `Tokens` of integers are written
    int8_t* integers;
    float *scales, *sums;
    int32_t* offsets;
};

// What one KV head of one sequence holds, oldest first: packed groups of tokens, then tokens as floats.
//
// A group is one stretch of bytes: codes of its keys [token][channels * bits / 8], a scale and a zero for each channel
// of the keys, codes of its values, a scale and a zero for each `share` channels of each token's values. Codes are
// unsigned; of 4 bits the low nibbles are the first half of the channels. Scales and zeros are bf16: code * scale + zero.
struct Stretch {          // mirrored in cache/attention.py
    float *keys, *values;   // [token][channels], with room for the new tokens
    int64_t held;           // floats among the old tokens
    const uint8_t* packed;  // [group][bytes]
    int64_t groups;
};

// New tokens of some sequences, which attend what they hold and each other. Query heads of a group share a KV head.
struct Attending {        // mirrored in cache/attention.py
    int64_t batch, heads, group, tokens, channels;
    int64_t bits, size, share;  // of packed groups: bits of a code, tokens, channels of a value that share a scale
    const float *q, *k, *v;
    int64_t q_strides[3], k_strides[3], v_strides[3];  // elements: sequence, head, token
    const Stretch* stretches;    // [sequence][head]
    const uint8_t* visible;      // [sequence or 1][token][token]: which new tokens each sees; null: those up to itself
    int64_t visible_stride;      // 0: one for all sequences
    const int64_t* first;        // [sequence][token]: the first old token that is seen; null: all are
    float* out;                  // [sequence][token][head of the group][channels]
    float* weights;              // [sequence][head][token][pitch]: what each token got, summed over the group; or null
    int64_t pitch;

    int64_t code_bytes() const { return channels * bits / 8; }
    int64_t shares() const { return channels / (share ? share : channels); }
    int64_t group_bytes() const { return 2 * size * code_bytes() + 4 * channels + 4 * size * shares(); }
};

// Columns [begin, end) of what one KV head of one sequence holds, its new tokens included. Without `to` these are all,
// and the answer goes to `out`; else what they add up to goes there: sums [query][channels], the largest score of each
// query, the sum of its weights.
struct Piece {
    int64_t sequence, head, begin, end;
    float* to;
};

struct Variant {
    const char* name;
    // Output columns of tiles [begin, end), for all tokens: y is [token][rows].
    void (*product)(const Matrix&, const Tokens&, float* y, int64_t begin, int64_t end);
    // Tokens [begin, end) of x [token][columns], rounded to integers of 8 bits, with a scale for each block or token.
    void (*quantise)(const Matrix&, const float* x, int64_t begin, int64_t end, bool per_token, const Rounded& out);
    // out [width] = silu(pair [0 … width)) * pair [width … 2 width).
    void (*gate)(const float* pair, int64_t width, float* out);
    // The sum of e^(x - most).
    float (*exponentials)(const float* x, int64_t count, float most);
    // out [width] = weight * x / sqrt(mean(x^2) + epsilon).
    void (*norm)(const float* x, const float* weight, float epsilon, int64_t width, float* out);
    // x [head][channels] turned by a rotary angle for each pair of channels; the sines' first half is negative.
    void (*turn)(float* x, int64_t heads, int64_t channels, const float* cosines, const float* sines);
    // Output columns [begin, end) of y [token][rows] = x [token][columns] times the matrix transposed.
    void (*dense)(const Floating&, const float* x, int64_t tokens, float* y, int64_t begin, int64_t end);
    // Some columns of one KV head of one sequence, whose new tokens lie behind those it holds. `scratch`: `attend_floats`.
    void (*attend)(const Attending&, const Piece&, float* scratch);
};

const Variant& variant_at(int index);

constexpr int64_t kKeys = 64;  // of a block of attention: keys and values of one stay in the first cache

// Of a packed group: its keys and values, or what a few queries make of its scales.
inline int64_t unpacked_floats(const Attending& a) {
    const int64_t keys = 6 * a.channels, values = a.channels / kRows * 4 * kKeys + 4 * a.shares() * a.size;
    const int64_t folded = keys > values ? keys : values, whole = 2 * a.size * a.channels;
    return a.bits ? (whole > folded ? whole : folded) : 0;
}

// Floats that a task of attention needs: queries, sums, a block of scores, unpacked keys and values, and all scores
// where they are asked for.
inline int64_t attend_floats(const Attending& a) {
    const int64_t rows = a.group * a.tokens, block = a.size > kKeys ? a.size : kKeys;
    return rows * (2 * a.channels + block + 2) + unpacked_floats(a) + (a.weights ? rows * a.pitch : 0);
}

}  // namespace dovetail
