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

struct Variant {
    const char* name;
    // Output columns of tiles [begin, end), for all tokens: y is [token][rows].
    void (*product)(const Matrix&, const Tokens&, float* y, int64_t begin, int64_t end);
    // Tokens [begin, end) of x [token][columns], rounded to integers of 8 bits, with a scale for each block or token.
    void (*quantise)(const Matrix&, const float* x, int64_t begin, int64_t end, bool per_token, const Rounded& out);
    // out [width] = silu(pair [0 … width)) * pair [width … 2 width).
    void (*gate)(const float* pair, int64_t width, float* out);
    // out [width] = weight * x / sqrt(mean(x^2) + epsilon).
    void (*norm)(const float* x, const float* weight, float epsilon, int64_t width, float* out);
    // Output columns [begin, end) of y [token][rows] = x [token][columns] times the matrix transposed.
    void (*dense)(const Floating&, const float* x, int64_t tokens, float* y, int64_t begin, int64_t end);
};

}  // namespace dovetail
