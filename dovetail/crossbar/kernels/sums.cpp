// Conversions of bitlines: AND of input bits and cell bits, count, convert, shift, add.
//
// Bitlines of one tile side by side, whatever their slices and planes are: each lane has its own converter and its own
// worth. The cells' bits stay in registers while vectors and cycles pass. One source for all instruction sets: a vector
// has as many lanes as a register, and only counting bits and rounding down are said differently.
#include <cmath>
#include <cstdint>

#if defined(__AVX512VPOPCNTDQ__)
#include <immintrin.h>
#define LANES 8
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 4
#else
#define LANES 2
#endif

#define JOIN(a, b) a##b
#define NAME(variant) JOIN(dovetail_sums_, variant)

namespace {

constexpr int GROUP = 8, PARTS = GROUP / LANES;  // bitlines that are stored together
typedef int64_t Lanes __attribute__((vector_size(LANES * 8)));
typedef double Reals __attribute__((vector_size(LANES * 8)));
typedef int64_t StoredLanes __attribute__((vector_size(LANES * 8), aligned(8), may_alias));  // wherever NumPy puts them
typedef double StoredReals __attribute__((vector_size(LANES * 8), aligned(8), may_alias));

struct Sums {  // mirrored in library.py
    int64_t vectors, tiles, cycles, words, planes, groups, outputs, whole, inputs_signed;
    const uint64_t* inputs;       // [tiles][vectors][cycles][words]
    const int64_t* weights;       // [planes]: what a bit of each plane of a digit counts, negative for a second cell
    const int32_t* tile;          // [groups]
    const uint64_t* cells;        // [groups][planes][words][GROUP]
    const int64_t *low, *high;    // [groups][GROUP]: codes of the converters
    const double *inverse;        // [groups][GROUP]: 1 / step. `whole`: all steps are 1
    const double *worth;          // [groups][GROUP]: what a code counts
    const int32_t* output;        // [groups][GROUP]
    double* out;                  // [vectors][outputs]
};

constexpr int64_t AT_ONCE = 16;  // words whose counts are added before `gathered`: 8 a word in a byte of 255

inline Lanes spread(uint64_t pattern) { return Lanes{} + (int64_t)pattern; }

// Bits that are on: of the lane, or of each of its bytes, which `gathered` adds up.
#if defined(__AVX512VPOPCNTDQ__)
inline Lanes counted(Lanes bits) { return (Lanes)_mm512_popcnt_epi64((__m512i)bits); }
inline Lanes gathered(Lanes counts) { return counts; }
inline Reals floors(Reals x) {
    return (Reals)_mm512_roundscale_pd((__m512d)x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
#elif defined(__AVX2__)
inline Lanes counted(Lanes bits) {
    const __m256i table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
                                           0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const __m256i nibble = _mm256_set1_epi8(15), all = (__m256i)bits;
    return (Lanes)_mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_and_si256(all, nibble)),
                                  _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(all, 4), nibble)));
}
inline Lanes gathered(Lanes counts) { return (Lanes)_mm256_sad_epu8((__m256i)counts, _mm256_setzero_si256()); }
inline Reals floors(Reals x) { return (Reals)_mm256_floor_pd((__m256d)x); }
#else
inline Lanes counted(Lanes bits) {
    const Lanes odd = spread(0x5555555555555555), pairs = spread(0x3333333333333333);
    bits -= (bits >> 1) & odd;
    bits = (bits & pairs) + ((bits >> 2) & pairs);
    return (bits + (bits >> 4)) & spread(0x0f0f0f0f0f0f0f0f);
}
inline Lanes gathered(Lanes counts) {
    const Lanes bytes = spread(0x00ff00ff00ff00ff);
    counts = (counts & bytes) + ((counts >> 8) & bytes);
    counts += counts >> 16;
    return (counts + (counts >> 32)) & spread(0xffff);
}
inline Reals floors(Reals x) {
    for (int lane = 0; lane < LANES; ++lane) x[lane] = std::floor(x[lane]);
    return x;
}
#endif

template <class V>
inline V clipped(V values, V low, V high) {
    values = values < low ? low : values;
    return values > high ? high : values;
}

template <int PLANES, int WORDS>  // 0: as many as the caller says
void part(const Sums& s, int64_t g, int part) {
    const int64_t planes = PLANES ? PLANES : s.planes, words = WORDS ? WORDS : s.words;
    const StoredLanes* stored = (const StoredLanes*)(s.cells + g * planes * words * GROUP) + part;
    Lanes held[PLANES && WORDS ? PLANES * WORDS : 1];
    if constexpr (PLANES && WORDS)
        for (int k = 0; k < PLANES * WORDS; ++k) held[k] = stored[k * PARTS];
    const auto cells = [&](int64_t k) -> Lanes { return PLANES && WORDS ? held[k] : stored[k * PARTS]; };
    const int64_t at = g * PARTS + part;
    const Lanes low = ((const StoredLanes*)s.low)[at], high = ((const StoredLanes*)s.high)[at];
    const Reals lowest = __builtin_convertvector(low, Reals), highest = __builtin_convertvector(high, Reals);
    const Reals inverse = ((const StoredReals*)s.inverse)[at], worth = ((const StoredReals*)s.worth)[at];
    const int32_t* output = s.output + at * LANES;
    const uint64_t* x = s.inputs + s.tile[g] * s.vectors * s.cycles * words;
    for (int64_t v = 0; v < s.vectors; ++v) {
        Lanes total = {};
        for (int64_t cycle = 0; cycle < s.cycles; ++cycle, x += words) {
            uint64_t any = 0;
            for (int64_t w = 0; w < words; ++w) any |= x[w];
            if (!any) continue;  // no input is on: nothing to convert
            Lanes sums = {};
            for (int64_t p = 0; p < planes; ++p) {
                Lanes counts = {};
                for (int64_t first = 0; first < words; first += AT_ONCE) {
                    Lanes some = {};
                    for (int64_t w = first; w < words && w < first + AT_ONCE; ++w)
                        some += counted(cells(p * words + w) & spread(x[w]));
                    counts += gathered(some);
                }
                const int64_t weight = s.weights[p];  // a power of two, or its negative
                counts <<= (int64_t)__builtin_ctzll((uint64_t)weight);
                sums += weight > 0 ? counts : -counts;
            }
            if (s.whole) {
                sums = clipped(sums, low, high);
            } else {
                const Reals codes = floors(__builtin_convertvector(sums, Reals) * inverse + 0.5);
                sums = __builtin_convertvector(clipped(codes, lowest, highest), Lanes);
            }
            sums <<= cycle;
            total += s.inputs_signed && cycle == s.cycles - 1 ? -sums : sums;
        }
        const Reals worths = __builtin_convertvector(total, Reals) * worth;
        double* out = s.out + v * s.outputs;
        for (int lane = 0; lane < LANES; ++lane) out[output[lane]] += worths[lane];
    }
}

typedef void (*Part)(const Sums&, int64_t, int);

Part chosen(const Sums& s) {
    if (s.planes == 2 && s.words == 2) return part<2, 2>;
    if (s.planes == 2 && s.words == 1) return part<2, 1>;
    if (s.planes == 2 && s.words == 4) return part<2, 4>;
    if (s.planes == 1 && s.words == 2) return part<1, 2>;
    if (s.planes == 4 && s.words == 2) return part<4, 2>;
    return part<0, 0>;
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void NAME(DOVETAIL_VARIANT)(const Sums* s) {
    const Part each = chosen(*s);
    for (int64_t g = 0; g < s->groups; ++g)
        for (int k = 0; k < PARTS; ++k) each(*s, g, k);
}

#ifdef DOVETAIL_DOOR
extern "C" __attribute__((visibility("default"))) int dovetail_sums_runs(int variant) {
    if (variant == 0) return 1;
#if defined(__x86_64__)
    if (variant == 1) return __builtin_cpu_supports("avx2") ? 1 : 0;
    if (variant == 2)
        return __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vpopcntdq");
#endif
    return 0;
}
#endif
