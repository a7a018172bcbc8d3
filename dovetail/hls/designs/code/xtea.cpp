#include <cstdint>
// XTEA encryption of one block, 32 rounds.
static const int ROUNDS = 32;

void xtea(const uint32_t block[2], const uint32_t key[4], uint32_t out[2]) {
#pragma HLS INTERFACE bram port=block
#pragma HLS INTERFACE bram port=key
#pragma HLS INTERFACE bram port=out
    uint32_t k[4];
#pragma HLS ARRAY_PARTITION variable=k complete
KEY:
    for (int i = 0; i < 4; i++) {
#pragma HLS PIPELINE II=1
        k[i] = key[i];
    }
    uint32_t left = block[0];
    uint32_t right = block[1];
    uint32_t sum = 0;
    const uint32_t delta = 0x9E3779B9u;
ROUND:
    for (int r = 0; r < ROUNDS; r++) {
#pragma HLS PIPELINE II=2
        left += (((right << 4) ^ (right >> 5)) + right) ^ (sum + k[sum & 3]);
        sum += delta;
        right += (((left << 4) ^ (left >> 5)) + left) ^ (sum + k[(sum >> 11) & 3]);
    }
    out[0] = left;
    out[1] = right;
}
