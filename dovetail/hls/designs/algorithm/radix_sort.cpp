#include <cstdint>
// Least-significant-digit radix sort, four bits a pass: count, offsets, scatter.
static const int N = 20, RADIX = 16, PASSES = 4;

void radix_sort(const uint16_t x[N], uint16_t y[N]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=y
    uint16_t half[2][N];
    uint8_t count[RADIX];
    uint8_t offset[RADIX];
#pragma HLS ARRAY_PARTITION variable=half complete dim=1
#pragma HLS ARRAY_PARTITION variable=count complete
#pragma HLS ARRAY_PARTITION variable=offset complete
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        half[0][i] = x[i];
    }
PASS:
    for (int p = 0; p < PASSES; p++) {
        int src = p & 1;
        int shift = 4 * p;
    ZERO:
        for (int b = 0; b < RADIX; b++) {
#pragma HLS UNROLL
            count[b] = 0;
        }
    COUNT:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            uint16_t digit = (half[src][i] >> shift) & 0xF;
            count[digit]++;
        }
        offset[0] = 0;
    OFFSET:
        for (int b = 1; b < RADIX; b++) {
#pragma HLS PIPELINE II=1
            offset[b] = offset[b - 1] + count[b - 1];
        }
    SCATTER:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            uint16_t digit = (half[src][i] >> shift) & 0xF;
            half[1 - src][offset[digit]] = half[src][i];
            offset[digit]++;
        }
    }
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = half[0][i];
    }
}
