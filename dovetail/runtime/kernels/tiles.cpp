// Products of packed weights and of floats with some tokens, compiled once for each instruction set (see build.py).
//
// Integer products add exactly within a block, and every variant turns blocks into floats by the same operations in
// the same order (no multiplication and addition are fused: -ffp-contract=off), so all give the same bits.
#include "lanes.h"
#include "variant.h"

namespace dovetail {
namespace {

// Weights of a few tokens come from memory, several streams at once: ask early. More tokens find them in the caches.
template <int tokens> inline void ahead(const uint8_t* w) {
    if constexpr (tokens <= 2) __builtin_prefetch(w + 2048);
}

// One step of integer products: 4 columns, or 8 in two halves.
template <int bits, int tiles, int tokens>
inline void integer_step(Ints (&sum)[tiles][tokens], const uint8_t* const (&w)[tiles], const int8_t* a, int64_t stride) {
    Codes<bits> first[tiles], second[tiles];
    UNROLL for (int r = 0; r < tiles; r++) {
        const Ints packed = load(w[r]);
        first[r] = codes<bits>(bits == 4 ? low(packed) : packed);
        if constexpr (bits == 4) second[r] = codes<bits>(high(packed));
    }
    UNROLL for (int t = 0; t < tokens; t++) {
        const Quad x = quad(a + t * stride);
        UNROLL for (int r = 0; r < tiles; r++) sum[r][t] = dot<bits>(sum[r][t], first[r], x);
        if constexpr (bits == 4) {
            const Quad y = quad(a + t * stride + 4);
            UNROLL for (int r = 0; r < tiles; r++) sum[r][t] = dot<bits>(sum[r][t], second[r], y);
        }
    }
}

template <int bits, int tiles, int tokens, int j = 0>
inline void exact_step(Floats (&sum)[tiles][tokens], const Ints (&w)[tiles], const float* x, int64_t stride) {
    Floats weights[tiles];
    UNROLL for (int r = 0; r < tiles; r++) weights[r] = weight<bits, j>(w[r]);
    UNROLL for (int t = 0; t < tokens; t++) {
        const Floats a = splat(x[t * stride + j]);
        UNROLL for (int r = 0; r < tiles; r++) sum[r][t] = fused(weights[r], a, sum[r][t]);
    }
    if constexpr (j + 1 < 32 / bits) exact_step<bits, tiles, tokens, j + 1>(sum, w, x, stride);
}

inline void put(const Matrix& m, float* y, int64_t row, Floats value) {
    if (m.bias && row + kRows <= m.rows) value = value + load(m.bias + row);
    if (row + kRows <= m.rows) return store(y + row, value);
    float part[kRows];
    store(part, value);
    for (int64_t i = row; i < m.rows; i++) y[i] = part[i - row] + (m.bias ? m.bias[i] : 0.0f);
}

// `tiles` tiles from `tile` on, times `tokens` tokens from `token` on: sums stay in registers over a block.
template <int bits, bool exact, int tiles, int tokens>
void part(const Matrix& m, const Tokens& in, float* y, int64_t tile, int64_t token) {
    const int64_t blocks = m.blocks(), steps = m.steps(), padded = m.padded(), tile_bytes = blocks * steps * kStep;
    const int64_t scale_tile = (m.grouped ? blocks : 1) * kRows, scale_block = m.grouped ? kRows : 0;
    const uint8_t* w[tiles];
    UNROLL for (int r = 0; r < tiles; r++) w[r] = m.codes + (tile + r) * tile_bytes;
    const float* scale = m.scales + tile * scale_tile;
    Floats total[tiles][tokens];
    UNROLL for (int r = 0; r < tiles; r++) UNROLL for (int t = 0; t < tokens; t++) total[r][t] = splat(0.0f);
    const float* zero = m.zeros ? m.zeros + tile * scale_tile : nullptr;
    for (int64_t b = 0; b < blocks; b++, scale += scale_block, zero = zero ? zero + scale_block : zero) {
        const int64_t at = token * blocks + b;
        if constexpr (exact) {
            const float* x = in.floats + token * in.stride + b * padded;
            Floats sum[tiles][tokens];
            UNROLL for (int r = 0; r < tiles; r++) UNROLL for (int t = 0; t < tokens; t++) sum[r][t] = splat(0.0f);
            for (int64_t s = 0; s < steps; s++, x += 32 / bits) {
                Ints now[tiles];
                UNROLL for (int r = 0; r < tiles; r++) {
                    ahead<tokens>(w[r]);
                    now[r] = signs<bits>(load(w[r]));
                    w[r] += kStep;
                }
                exact_step<bits, tiles, tokens>(sum, now, x, in.stride);
            }
            UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int r = 0; r < tiles; r++) {
                Floats block = sum[r][t] * splat(1.0f / kUnit<bits>);
                if (zero) block = block + load(zero + r * scale_tile) * splat(-in.sums[at + t * blocks]);
                total[r][t] = fused(block, load(scale + r * scale_tile), total[r][t]);
            }
        } else {
            const int8_t* a = in.integers + token * in.stride + b * padded;
            Ints sum[tiles][tokens];
            UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int r = 0; r < tiles; r++) sum[r][t] = splat(in.offsets[at + t * blocks]);
            for (int64_t s = 0; s < steps; s++, a += 32 / bits) {
                integer_step<bits, tiles, tokens>(sum, w, a, in.stride);
                UNROLL for (int r = 0; r < tiles; r++) {
                    ahead<tokens>(w[r]);
                    w[r] += kStep;
                }
            }
            UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int r = 0; r < tiles; r++) {
                Floats block = floats(sum[r][t]);
                if (zero) block = block + load(zero + r * scale_tile) * splat(-in.sums[at + t * blocks]);
                total[r][t] = total[r][t] + block * (load(scale + r * scale_tile) * splat(in.scales[at + t * blocks]));
            }
        }
    }
    UNROLL for (int t = 0; t < tokens; t++) UNROLL for (int r = 0; r < tiles; r++)
        put(m, y + (token + t) * m.rows, (tile + r) * kRows, total[r][t]);
}

// All tokens, as many at once as there are registers for, over one stretch of tiles that stays in the caches. The last
// few go together: what makes numbers of codes is done once for them.
template <int bits, bool exact, int tiles, int tokens>
void stretch(const Matrix& m, const Tokens& in, float* y, int64_t tile, int64_t token) {
    for (; token + tokens <= in.count; token += tokens) {
        if constexpr (tiles_at_once(tokens) >= tiles) part<bits, exact, tiles, tokens>(m, in, y, tile, token);
        else for (int r = 0; r < tiles; r += tiles_at_once(tokens)) part<bits, exact, tiles_at_once(tokens), tokens>(m, in, y, tile + r, token);
    }
    if constexpr (tokens > 1) stretch<bits, exact, tiles, tokens - 1>(m, in, y, tile, token);
}

template <int bits, bool exact> void all(const Matrix& m, const Tokens& in, float* y, int64_t begin, int64_t end) {
    constexpr int most = tiles_at_once(1);
    for (; begin + most <= end; begin += most) stretch<bits, exact, most, kMostTokens>(m, in, y, begin, 0);
    for (; begin < end; begin++) stretch<bits, exact, 1, kMostTokens>(m, in, y, begin, 0);
}

}  // namespace

void DOVETAIL_VARIANT::product(const Matrix& m, const Tokens& in, float* y, int64_t begin, int64_t end) {
    if (m.bits == 4) in.floats ? all<4, true>(m, in, y, begin, end) : all<4, false>(m, in, y, begin, end);
    else in.floats ? all<8, true>(m, in, y, begin, end) : all<8, false>(m, in, y, begin, end);
}

namespace {

// `rows` rows of plain floats times `tokens` tokens: sums along the columns stay in registers, a vector each.
template <int rows, int tokens>
inline void dense_part(const Floating& m, const float* x, float* y, int64_t row, int64_t token) {
    static_assert(rows * tokens <= kSums);
    const float* w[rows];
    const float* a[tokens];
    Floats sum[kSums];
    UNROLL for (int r = 0; r < rows; r++) w[r] = m.weights + (row + r) * m.columns;
    UNROLL for (int t = 0; t < tokens; t++) a[t] = x + (token + t) * m.columns;
    UNROLL for (int i = 0; i < kSums; i++) sum[i] = splat(0.0f);
    const int64_t whole = m.columns / kRows * kRows, next = rows * m.columns;  // the rows after these: ask early
    for (int64_t k = 0; k < whole; k += kRows) {
        Floats part[tokens];
        UNROLL for (int t = 0; t < tokens; t++) part[t] = load(a[t] + k);
        UNROLL for (int r = 0; r < rows; r++) {
            __builtin_prefetch(w[r] + k + next);
            const Floats weights = load(w[r] + k);
            UNROLL for (int t = 0; t < tokens; t++) sum[t * rows + r] = fused(weights, part[t], sum[t * rows + r]);
        }
    }
    float out[kSums];
    totals(sum, out);
    for (int t = 0; t < tokens; t++)
        for (int r = 0; r < rows; r++) {
            float all = out[t * rows + r] + (m.bias ? m.bias[row + r] : 0.0f);
            for (int64_t k = whole; k < m.columns; k++) all += w[r][k] * a[t][k];
            y[(token + t) * m.rows + row + r] = all;
        }
}

// Rows [begin, end), `tokens` tokens at a time.
template <int rows, int tokens>
void dense_rows(const Floating& m, const float* x, float* y, int64_t begin, int64_t end, int64_t token) {
    int64_t row = begin;
    for (; row + rows <= end; row += rows) dense_part<rows, tokens>(m, x, y, row, token);
    for (; row < end; row++) dense_part<1, tokens>(m, x, y, row, token);
}

}  // namespace

void DOVETAIL_VARIANT::dense(const Floating& m, const float* x, int64_t count, float* y, int64_t begin, int64_t end) {
    constexpr int most = kSums == 16 ? 4 : 2;
    int64_t token = 0;
    for (; count - token >= most; token += most) dense_rows<kSums / most, most>(m, x, y, begin, end, token);
    if constexpr (most == 4) {
        if (count - token == 3) return dense_rows<5, 3>(m, x, y, begin, end, token);
        if (count - token == 2) return dense_rows<8, 2>(m, x, y, begin, end, token);
    }
    if (count > token) dense_rows<kSums, 1>(m, x, y, begin, end, token);
}

#define NAME_(variant) variant_##variant
#define NAME(variant) NAME_(variant)
extern const Variant NAME(DOVETAIL_VARIANT);
const Variant NAME(DOVETAIL_VARIANT) = {
    kName, DOVETAIL_VARIANT::product, DOVETAIL_VARIANT::quantise, DOVETAIL_VARIANT::gate, DOVETAIL_VARIANT::exponentials,
    DOVETAIL_VARIANT::norm, DOVETAIL_VARIANT::turn, DOVETAIL_VARIANT::dense, DOVETAIL_VARIANT::attend};

}  // namespace dovetail
