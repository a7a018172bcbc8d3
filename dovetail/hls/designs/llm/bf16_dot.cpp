#include <cstdint>
#include <cstring>
// Dot product of bfloat16 bit patterns, accumulated in eight interleaved partial sums.
static const int N = 64, LANES = 8;

static float widen(uint16_t bits) {
#pragma HLS INLINE
    uint32_t word = (uint32_t)bits << 16;
    float value = 0.0f;
    std::memcpy(&value, &word, sizeof(value));
    return value;
}

void bf16_dot(const uint16_t a[N], const uint16_t b[N], int count, float out[1]) {
#pragma HLS INTERFACE m_axi port=a bundle=gmem0
#pragma HLS INTERFACE m_axi port=b bundle=gmem1
#pragma HLS INTERFACE s_axilite port=count
#pragma HLS INTERFACE bram port=out
    float partial[LANES];
#pragma HLS ARRAY_PARTITION variable=partial complete
CLEAR:
    for (int l = 0; l < LANES; l++) {
#pragma HLS UNROLL
        partial[l] = 0.0f;
    }
MAC:
    for (int i = 0; i < count; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=partial inter distance=8 true
        partial[i % LANES] += widen(a[i]) * widen(b[i]);
    }
    float sum = 0.0f;
REDUCE:
    for (int l = 0; l < LANES; l++) {
#pragma HLS PIPELINE
        sum += partial[l];
    }
    out[0] = sum;
}
