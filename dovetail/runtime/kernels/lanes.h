// Vectors of 16 lanes, one for each row of a tile, for the instruction set this file is compiled for. Everything else
// is written in these few words. Nothing here may come from the standard library: an inline function of its would be
// shared with objects compiled for older processors.
#pragma once
#include <cstdint>
#include <cstring>
#include <type_traits>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "kernels.h"

#define UNROLL _Pragma("GCC unroll 16")

namespace dovetail {
namespace {

// `widen` makes 16 unsigned bytes a lane each; `low` and `high` of that are their halves.
#if defined(__AVX512VNNI__)

constexpr const char* kName = "avx512";
constexpr int kMostTokens = 8;
constexpr int tiles_at_once(int tokens) { return tokens > 4 ? 2 : 4; }  // sums that fit in 32 registers

struct Ints { __m512i v; };
struct Floats { __m512 v; };
struct Quad { __m512i v; };
template <int bits> struct Codes { __m512i v; };

inline Ints load(const uint8_t* from) { return {_mm512_loadu_si512(from)}; }
inline Ints widen(const uint8_t* from) { return {_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)from))}; }
inline Ints low(Ints x) { return {_mm512_and_si512(x.v, _mm512_set1_epi8(15))}; }
inline Ints high(Ints x) { return {_mm512_and_si512(_mm512_srli_epi32(x.v, 4), _mm512_set1_epi8(15))}; }
inline Ints splat(int32_t x) { return {_mm512_set1_epi32(x)}; }
inline Quad quad(const int8_t* from) { int32_t x; memcpy(&x, from, 4); return {_mm512_set1_epi32(x)}; }
template <int bits> inline Codes<bits> codes(Ints x) { return {x.v}; }
template <int bits> inline Ints dot(Ints sum, Codes<bits> w, Quad a) { return {_mm512_dpbusd_epi32(sum.v, w.v, a.v)}; }

inline Floats floats(Ints x) { return {_mm512_cvtepi32_ps(x.v)}; }
inline Floats load(const float* from) { return {_mm512_loadu_ps(from)}; }
inline void store(float* to, Floats x) { _mm512_storeu_ps(to, x.v); }
inline Floats splat(float x) { return {_mm512_set1_ps(x)}; }
inline Floats larger(Floats a, Floats b) { return {_mm512_max_ps(a.v, b.v)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline Floats operator+(Floats a, Floats b) { return {_mm512_add_ps(a.v, b.v)}; }
inline Floats fused(Floats a, Floats b, Floats c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }

// Sums over the lanes of `kSums` vectors. Pairs are interleaved and added, until lane i holds the sum of vector i.
constexpr int kSums = 16;
inline __m512 halves(__m512 a, __m512 b) { return _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b)); }
inline __m512 quarters(const Floats* x) {  // in each 128 bits, what they add to the sums of four vectors
    const __m512d a = _mm512_castps_pd(halves(x[0].v, x[1].v)), b = _mm512_castps_pd(halves(x[2].v, x[3].v));
    return _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
}
inline void totals(const Floats (&x)[kSums], float* out) {
    const __m512 a = quarters(x), b = quarters(x + 4), c = quarters(x + 8), d = quarters(x + 12);
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xEE));
    _mm512_storeu_ps(out, _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xDD)));
}

// The weight of column j of a step, times `kUnit<bits>`. Of 8 bits: its byte moved to the top of a zeroed lane is the
// weight times 2^24. Of 4 bits: a table of 16 floats, looked up by the low nibble of each lane.
template <int bits> constexpr float kUnit = bits == 8 ? 16777216.0f : 1.0f;
template <int bits> inline Ints signs(Ints x) { return bits == 8 ? Ints{_mm512_xor_si512(x.v, _mm512_set1_epi8(-128))} : x; }
template <int bits, int j> inline Floats weight(Ints x) {
    if constexpr (bits == 8) {
        const __m512i top = _mm512_set4_epi32(int(0x0C808080) + j * 0x01000000, int(0x08808080) + j * 0x01000000,
                                              int(0x04808080) + j * 0x01000000, int(0x00808080) + j * 0x01000000);
        return floats({_mm512_shuffle_epi8(x.v, top)});
    } else {
        const __m512 table = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
        return {_mm512_permutexvar_ps(_mm512_srli_epi32(x.v, 8 * (j % 4) + 4 * (j / 4)), table)};
    }
}

#elif defined(__AVX2__)

constexpr int kMostTokens = 4;
constexpr int tiles_at_once(int tokens) { return tokens > 2 ? 1 : 2; }

struct Ints { __m256i a, b; };
struct Floats { __m256 a, b; };
inline Ints load(const uint8_t* from) {
    return {_mm256_loadu_si256((const __m256i*)from), _mm256_loadu_si256((const __m256i*)(from + 32))};
}
inline Ints widen(const uint8_t* from) {
    const __m128i x = _mm_loadu_si128((const __m128i*)from);
    return {_mm256_cvtepu8_epi32(x), _mm256_cvtepu8_epi32(_mm_unpackhi_epi64(x, x))};
}
inline Ints masked(Ints x, int mask) {
    const __m256i m = _mm256_set1_epi32(mask);
    return {_mm256_and_si256(x.a, m), _mm256_and_si256(x.b, m)};
}
inline Ints low(Ints x) { return masked(x, 0x0F0F0F0F); }
inline Ints high(Ints x) { return masked({_mm256_srli_epi32(x.a, 4), _mm256_srli_epi32(x.b, 4)}, 0x0F0F0F0F); }
inline Ints splat(int32_t x) { return {_mm256_set1_epi32(x), _mm256_set1_epi32(x)}; }
inline __m256i four(const int8_t* from) { int32_t x; memcpy(&x, from, 4); return _mm256_set1_epi32(x); }

#if defined(__AVXVNNI__)
constexpr const char* kName = "avxvnni";
struct Quad { __m256i v; };
template <int bits> using Codes = Ints;
inline Quad quad(const int8_t* from) { return {four(from)}; }
template <int bits> inline Codes<bits> codes(Ints x) { return x; }
template <int bits> inline Ints dot(Ints sum, Codes<bits> w, Quad a) {
    return {_mm256_dpbusd_avx_epi32(sum.a, w.a, a.v), _mm256_dpbusd_avx_epi32(sum.b, w.b, a.v)};
}
#else
// Products of bytes are added in pairs of 16 bits, which codes of 8 bits overflow and codes of 4 bits do not: the
// former are widened first, even and odd bytes apart.
constexpr const char* kName = "avx2";
struct Quad { __m256i v, even, odd; };
template <int bits> struct Codes { Ints even, odd; };
template <> struct Codes<4> { Ints v; };
inline Quad quad(const int8_t* from) {
    const __m256i x = four(from);
    return {x, _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8), _mm256_srai_epi16(x, 8)};
}
template <int bits> inline Codes<bits> codes(Ints x) {
    if constexpr (bits == 4) return {x};
    else return {masked(x, 0x00FF00FF), {_mm256_srli_epi16(x.a, 8), _mm256_srli_epi16(x.b, 8)}};
}
inline __m256i pairs(__m256i even, __m256i odd, Quad a) {
    return _mm256_add_epi32(_mm256_madd_epi16(even, a.even), _mm256_madd_epi16(odd, a.odd));
}
template <int bits> inline Ints dot(Ints sum, Codes<bits> w, Quad a) {
    if constexpr (bits == 4) {
        const __m256i one = _mm256_set1_epi16(1);
        return {_mm256_add_epi32(sum.a, _mm256_madd_epi16(_mm256_maddubs_epi16(w.v.a, a.v), one)),
                _mm256_add_epi32(sum.b, _mm256_madd_epi16(_mm256_maddubs_epi16(w.v.b, a.v), one))};
    } else {
        return {_mm256_add_epi32(sum.a, pairs(w.even.a, w.odd.a, a)), _mm256_add_epi32(sum.b, pairs(w.even.b, w.odd.b, a))};
    }
}
#endif

inline Floats floats(Ints x) { return {_mm256_cvtepi32_ps(x.a), _mm256_cvtepi32_ps(x.b)}; }
inline Floats load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Floats x) { _mm256_storeu_ps(to, x.a); _mm256_storeu_ps(to + 8, x.b); }
inline Floats splat(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Floats larger(Floats a, Floats b) { return {_mm256_max_ps(a.a, b.a), _mm256_max_ps(a.b, b.b)}; }
inline Floats operator*(Floats a, Floats b) { return {_mm256_mul_ps(a.a, b.a), _mm256_mul_ps(a.b, b.b)}; }
inline Floats operator+(Floats a, Floats b) { return {_mm256_add_ps(a.a, b.a), _mm256_add_ps(a.b, b.b)}; }
inline Floats fused(Floats a, Floats b, Floats c) {
    return {_mm256_fmadd_ps(a.a, b.a, c.a), _mm256_fmadd_ps(a.b, b.b, c.b)};
}

// Sums over the lanes of `kSums` vectors: as many as fit in 16 registers beside what is added.
constexpr int kSums = 4;
inline __m256 folded(Floats x) { return _mm256_add_ps(x.a, x.b); }
inline void totals(const Floats (&x)[kSums], float* out) {
    const __m256 a = _mm256_hadd_ps(folded(x[0]), folded(x[1])), b = _mm256_hadd_ps(folded(x[2]), folded(x[3]));
    const __m256 both = _mm256_hadd_ps(a, b);
    _mm_storeu_ps(out, _mm_add_ps(_mm256_castps256_ps128(both), _mm256_extractf128_ps(both, 1)));
}

// The weight of column j, moved to the top of a zeroed lane, is a signed integer times 2^24 or 2^28.
template <int bits> constexpr float kUnit = bits == 8 ? 16777216.0f : 268435456.0f;
template <int bits> inline Ints signs(Ints x) {
    const __m256i m = _mm256_set1_epi8(char(bits == 8 ? 0x80 : 0x88));
    return {_mm256_xor_si256(x.a, m), _mm256_xor_si256(x.b, m)};
}
template <int bits, int j> inline Floats weight(Ints x) {
    constexpr int left = bits == 8 ? 24 - 8 * j : 28 - 8 * (j % 4) - 4 * (j / 4);
    return floats(masked({_mm256_slli_epi32(x.a, left), _mm256_slli_epi32(x.b, left)}, int(bits == 8 ? 0xFF000000 : 0xF0000000)));
}

#else  // any processor: loops of 16 that compilers turn into vectors

constexpr const char* kName = "portable";
constexpr int kMostTokens = 4;
constexpr int tiles_at_once(int) { return 1; }

struct Ints { int32_t v[16]; };
struct Floats { float v[16]; };
struct Quad { int32_t v[4]; };
template <int bits> struct Codes { int32_t v[4][16]; };
#define EACH for (int i = 0; i < 16; i++)
inline Ints load(const uint8_t* from) {
    Ints x;
    EACH x.v[i] = int32_t(uint32_t(from[4 * i]) | uint32_t(from[4 * i + 1]) << 8 | uint32_t(from[4 * i + 2]) << 16 | uint32_t(from[4 * i + 3]) << 24);
    return x;
}
inline Ints widen(const uint8_t* from) {
    Ints x;
    EACH x.v[i] = from[i];
    return x;
}
inline Ints low(Ints x) { EACH x.v[i] &= 0x0F0F0F0F; return x; }
inline Ints high(Ints x) { EACH x.v[i] = int32_t(uint32_t(x.v[i]) >> 4) & 0x0F0F0F0F; return x; }
inline Ints splat(int32_t y) { Ints x; EACH x.v[i] = y; return x; }
inline Quad quad(const int8_t* from) { return {{from[0], from[1], from[2], from[3]}}; }
template <int bits> inline Codes<bits> codes(Ints x) {
    Codes<bits> c;
    for (int j = 0; j < 4; j++) EACH c.v[j][i] = (x.v[i] >> (8 * j)) & 255;
    return c;
}
template <int bits> inline Ints dot(Ints sum, const Codes<bits>& w, Quad a) {
    for (int j = 0; j < 4; j++) EACH sum.v[i] += w.v[j][i] * a.v[j];
    return sum;
}
inline Floats floats(Ints x) { Floats y; EACH y.v[i] = float(x.v[i]); return y; }
inline Floats load(const float* from) { Floats x; EACH x.v[i] = from[i]; return x; }
inline void store(float* to, Floats x) { EACH to[i] = x.v[i]; }
inline Floats splat(float y) { Floats x; EACH x.v[i] = y; return x; }
inline Floats larger(Floats a, Floats b) { EACH a.v[i] = a.v[i] > b.v[i] ? a.v[i] : b.v[i]; return a; }
inline Floats operator*(Floats a, Floats b) { EACH a.v[i] *= b.v[i]; return a; }
inline Floats operator+(Floats a, Floats b) { EACH a.v[i] += b.v[i]; return a; }
inline Floats fused(Floats a, Floats b, Floats c) { EACH c.v[i] += a.v[i] * b.v[i]; return c; }
constexpr int kSums = 4;
inline void totals(const Floats (&x)[kSums], float* out) {
    for (int n = 0; n < kSums; n++) {
        float sum = 0;
        EACH sum += x[n].v[i];
        out[n] = sum;
    }
}
template <int bits> constexpr float kUnit = 1.0f;
template <int bits> inline Ints signs(Ints x) { return x; }
template <int bits, int j> inline Floats weight(Ints x) {
    constexpr int right = bits == 8 ? 8 * j : 8 * (j % 4) + 4 * (j / 4);
    EACH x.v[i] = ((x.v[i] >> right) & ((1 << bits) - 1)) - (1 << (bits - 1));
    return floats(x);
}
#undef EACH

#endif

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

}  // namespace
}  // namespace dovetail
