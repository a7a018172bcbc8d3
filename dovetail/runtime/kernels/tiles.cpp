// Products of packed weights with some tokens, compiled once for each instruction set (see build.py).
//
// Integer products add exactly within a block, and every variant turns blocks into floats by the same operations in
// the same order (no multiplication and addition are fused: -ffp-contract=off), so all give the same bits.
#include <type_traits>

#include "kernels.h"
#include "lanes.h"

#define UNROLL _Pragma("GCC unroll 16")

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

void product(const Matrix& m, const Tokens& in, float* y, int64_t begin, int64_t end) {
    if (m.bits == 4) in.floats ? all<4, true>(m, in, y, begin, end) : all<4, false>(m, in, y, begin, end);
    else in.floats ? all<8, true>(m, in, y, begin, end) : all<8, false>(m, in, y, begin, end);
}

// The largest magnitude as bits: floats without their sign are ordered as integers, and NaN and infinity come last.
inline int32_t peak_bits(const float* x, int64_t n) {
    int32_t peak = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, x + i, 4);
        bits &= 0x7FFFFFFF;
        peak = bits > peak ? bits : peak;
    }
    return peak;
}

// Integers nearest to x / scale, ties to even; returns their sum. Peaks of 127.5 steps have no integer of their own.
inline int32_t rounded(const float* x, int64_t n, float scale, int8_t* out) {
    const float magic = 12582912.0f;  // 1.5 * 2^23: the unit in the last place of a sum with it is 1
    int32_t sum = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t value = int32_t((x[i] / scale + magic) - magic);
        value = value > 127 ? 127 : value;
        out[i] = int8_t(value);
        sum += value;
    }
    return sum;
}

// The scale of a stretch whose largest magnitude has these bits, 0 where all of it counts as zero, NaN where it has no
// largest. Per token it is that of compressed-tensors, 255 levels for [-peak, peak]; a block has a level at each end.
inline float step_of(int32_t bits, bool per_token) {
    float peak;
    memcpy(&peak, &bits, 4);
    if (bits >= 0x7F800000) return __builtin_nanf("");
    return peak < 1e-30f ? 0.0f : peak / (per_token ? 127.5f : 127.0f);
}

void quantise(const Matrix& m, const float* x, int64_t begin, int64_t end, bool per_token, const Rounded& out) {
    const int64_t blocks = m.blocks(), padded = m.padded(), excess = m.bits == 8 ? 128 : 8;
    for (int64_t t = begin; t < end; t++) {
        const float whole = per_token ? step_of(peak_bits(x + t * m.columns, m.columns), true) : 0.0f;
        for (int64_t b = 0; b < blocks; b++) {
            const int64_t first = b * m.block, n = m.columns - first < m.block ? m.columns - first : m.block;
            const float* from = x + t * m.columns + first;
            int8_t* to = out.integers + (t * blocks + b) * padded;
            const float scale = per_token ? whole : step_of(peak_bits(from, n), false);
            const int64_t real = scale > 0 ? n : 0, at = t * blocks + b;  // false for NaN
            const int32_t sum = rounded(from, real, scale, to);
            memset(to + real, 0, padded - real);
            out.scales[at] = scale;
            out.sums[at] = float(sum);
            out.offsets[at] = -int32_t(excess) * sum;
        }
    }
}

// e^x by 2^n (1 + …), n the nearest integer to x / ln 2: within 2 units in the last place. Infinity above 88.4.
inline float exponential(float x) {
    const float magic = 12582912.0f;
    x = x > 89.0f ? 89.0f : x;
    x = x < -87.0f ? -87.0f : x;
    const float shifted = x * 1.44269504f + magic, n = shifted - magic;
    const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
    float p = 1.0f / 5040;
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits;
    memcpy(&bits, &shifted, 4);
    bits = (bits + 127) << 23;  // the low bits of the shifted number are n
    float scale;
    memcpy(&scale, &bits, 4);
    return p * scale;
}

void gate(const float* pair, int64_t width, float* out) {
    for (int64_t i = 0; i < width; i++) out[i] = pair[i] / (1.0f + exponential(-pair[i])) * pair[width + i];
}

float exponentials(const float* x, int64_t count, float most) {
    Floats sums = splat(0.0f);
    int64_t i = 0;
    for (; i + kRows <= count; i += kRows) {
        float part[kRows];
        for (int j = 0; j < kRows; j++) part[j] = exponential(x[i + j] - most);
        sums = sums + load(part);
    }
    float lane[kRows], sum = 0;
    store(lane, sums);
    for (int j = 0; j < kRows; j++) sum += lane[j];
    for (; i < count; i++) sum += exponential(x[i] - most);
    return sum;
}

void norm(const float* x, const float* weight, float epsilon, int64_t width, float* out) {
    Floats sums = splat(0.0f);
    int64_t i = 0;
    for (; i + kRows <= width; i += kRows) sums = fused(load(x + i), load(x + i), sums);
    float part[kRows], sum = 0;
    store(part, sums);
    for (int j = 0; j < kRows; j++) sum += part[j];
    for (; i < width; i++) sum += x[i] * x[i];
    const float factor = 1.0f / __builtin_sqrtf(sum / float(width) + epsilon);
    for (i = 0; i < width; i++) out[i] = weight[i] * (x[i] * factor);
}

void turn(float* x, int64_t heads, int64_t channels, const float* cosines, const float* sines) {
    const int64_t half = channels / 2;
    for (float* head = x; head < x + heads * channels; head += channels) {
        for (int64_t c = 0; c < half; c++) {
            const float first = head[c], second = head[half + c];
            head[c] = first * cosines[c] + second * sines[c];
            head[half + c] = second * cosines[half + c] + first * sines[half + c];
        }
    }
}

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

void dense(const Floating& m, const float* x, int64_t count, float* y, int64_t begin, int64_t end) {
    constexpr int most = kSums == 16 ? 4 : 2;
    int64_t token = 0;
    for (; count - token >= most; token += most) dense_rows<kSums / most, most>(m, x, y, begin, end, token);
    if constexpr (most == 4) {
        if (count - token == 3) return dense_rows<5, 3>(m, x, y, begin, end, token);
        if (count - token == 2) return dense_rows<8, 2>(m, x, y, begin, end, token);
    }
    if (count > token) dense_rows<kSums, 1>(m, x, y, begin, end, token);
}

#include "attend.h"

}  // namespace

#define NAME_(variant) variant_##variant
#define NAME(variant) NAME_(variant)
extern const Variant NAME(DOVETAIL_VARIANT);
const Variant NAME(DOVETAIL_VARIANT) = {kName, product, quantise, gate, exponentials, norm, turn, dense, attend};

}  // namespace dovetail
