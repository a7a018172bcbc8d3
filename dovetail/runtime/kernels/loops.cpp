// What stands between products, element by element: loops that compilers turn into vectors when they are told to look.
// Compiled once for each instruction set.
#include "lanes.h"
#include "variant.h"

namespace dovetail {
namespace {

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

constexpr int64_t kChannels = 512;  // of a head at most

inline float half(const uint8_t* from) {  // bf16
    uint16_t top;
    memcpy(&top, from, 2);
    const uint32_t bits = uint32_t(top) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// Codes of one token to floats [channels]; `scale` and `zero` of each channel.
inline void unpack(const uint8_t* codes, int64_t channels, int64_t bits, const float* scale, const float* zero, float* out) {
    if (bits == 8) {
        for (int64_t c = 0; c < channels; c++) out[c] = float(codes[c]) * scale[c] + zero[c];
        return;
    }
    const int64_t second = channels / 2;
    for (int64_t c = 0; c < second; c++) out[c] = float(codes[c] & 15) * scale[c] + zero[c];
    for (int64_t c = 0; c < second; c++) out[second + c] = float(codes[c] >> 4) * scale[second + c] + zero[second + c];
}

// Scales and zeros as floats, each `times` over: they lie one after the other, all scales first.
inline void spread(const uint8_t* from, int64_t count, int64_t times, float* scale, float* zero) {
    for (int64_t i = 0; i < count; i++) {
        const float s = half(from + 2 * i), z = half(from + 2 * (count + i));
        for (int64_t j = 0; j < times; j++) scale[i * times + j] = s, zero[i * times + j] = z;
    }
}

}  // namespace

void DOVETAIL_VARIANT::quantise(const Matrix& m, const float* x, int64_t begin, int64_t end, bool per_token, const Rounded& out) {
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

void DOVETAIL_VARIANT::gate(const float* pair, int64_t width, float* out) {
    for (int64_t i = 0; i < width; i++) out[i] = pair[i] / (1.0f + exponential(-pair[i])) * pair[width + i];
}

float DOVETAIL_VARIANT::exponentials(const float* x, int64_t count, float most) {
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

void DOVETAIL_VARIANT::norm(const float* x, const float* weight, float epsilon, int64_t width, float* out) {
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

void DOVETAIL_VARIANT::turn(float* x, int64_t heads, int64_t channels, const float* cosines, const float* sines) {
    const int64_t half = channels / 2;
    for (float* head = x; head < x + heads * channels; head += channels) {
        for (int64_t c = 0; c < half; c++) {
            const float first = head[c], second = head[half + c];
            head[c] = first * cosines[c] + second * sines[c];
            head[half + c] = second * cosines[half + c] + first * sines[half + c];
        }
    }
}

void DOVETAIL_VARIANT::halves(const uint8_t* from, int64_t count, float* out) {
    for (int64_t i = 0; i < count; i++) out[i] = half(from + 2 * i);
}

// One packed group to floats: keys and values [size][channels].
void DOVETAIL_VARIANT::unpack_group(const Attending& a, const uint8_t* from, float* keys, float* values) {
    float scale[kChannels], zero[kChannels];
    const int64_t n = a.channels, bytes = a.code_bytes(), shares = a.shares();
    const uint8_t* scales = from + a.size * bytes;
    spread(scales, n, 1, scale, zero);
    for (int64_t t = 0; t < a.size; t++) unpack(from + t * bytes, n, a.bits, scale, zero, keys + t * n);
    const uint8_t* codes = scales + 4 * n;
    const uint8_t* own = codes + a.size * bytes;
    for (int64_t t = 0; t < a.size; t++, own += 4 * shares) {
        spread(own, shares, n / shares, scale, zero);
        unpack(codes + t * bytes, n, a.bits, scale, zero, values + t * n);
    }
}

void DOVETAIL_VARIANT::exponentiate(float* scores, int64_t count, float most, float least) {
    for (int64_t i = 0; i < count; i++) scores[i] = scores[i] < least ? 0.0f : exponential(scores[i] - most);
}

void DOVETAIL_VARIANT::scale(const float* x, int64_t count, float by, float* out) {
    for (int64_t i = 0; i < count; i++) out[i] = x[i] * by;
}

}  // namespace dovetail
