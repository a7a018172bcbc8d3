#include <cstdint>
// Fletcher's checksum, two bytes a step, sums folded at the end of each block.
static const int N = 28, BLOCK = 14;

void fletcher16(const uint8_t data[N], uint16_t &check) {
#pragma HLS INTERFACE ap_memory port=data
#pragma HLS INTERFACE ap_vld port=check
#pragma HLS ARRAY_PARTITION variable=data cyclic factor=2
    uint32_t low = 0;
    uint32_t high = 0;
BLOCKS:
    for (int start = 0; start < N; start += BLOCK) {
    PAIR:
        for (int i = 0; i < BLOCK; i += 2) {
#pragma HLS PIPELINE II=1
            uint8_t first = data[start + i];
            uint8_t second = data[start + i + 1];
            low += first;
            high += low;
            low += second;
            high += low;
        }
        low %= 255;
        high %= 255;
    }
    check = (uint16_t)((high << 8) | low);
}
