#include <ap_int.h>
#include <cstdint>
// Nearest of several 64-bit signatures: exclusive or, then a tree of bit counts.
static const int N = 10;

static int count_bits(uint64_t x) {
#pragma HLS INLINE
    x = x - ((x >> 1) & 0x5555555555555555ull);
    x = (x & 0x3333333333333333ull) + ((x >> 2) & 0x3333333333333333ull);
    x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Full;
    return (int)((x * 0x0101010101010101ull) >> 56);
}

void hamming_distance(const uint32_t a[2], const uint32_t b[2 * N], uint8_t &best, uint8_t &distance) {
#pragma HLS INTERFACE bram port=a
#pragma HLS INTERFACE m_axi port=b bundle=gmem0
#pragma HLS INTERFACE ap_vld port=best
#pragma HLS INTERFACE ap_vld port=distance
    uint64_t probe = ((uint64_t)a[1] << 32) | a[0];
    uint8_t place = 0;
    uint8_t least = 65;
CANDIDATE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=2
        uint64_t word = ((uint64_t)b[2 * i + 1] << 32) | b[2 * i];
        int bits = count_bits(probe ^ word);
        if (bits < least) {
            least = bits;
            place = i;
        }
    }
    best = place;
    distance = least;
}
