#include <cstdint>
// MurmurHash3 (32-bit) of sixteen bytes given as four words.
static const int WORDS = 4;

static uint32_t rotate(uint32_t x, int r) {
#pragma HLS INLINE
    return (x << r) | (x >> (32 - r));
}

void murmur_hash(const uint32_t key[WORDS], uint32_t seed, uint32_t &hash) {
#pragma HLS INTERFACE bram port=key
#pragma HLS INTERFACE s_axilite port=seed
#pragma HLS INTERFACE s_axilite port=hash
    uint32_t h = seed;
WORD:
    for (int i = 0; i < WORDS; i++) {
#pragma HLS PIPELINE II=1
        uint32_t k = key[i] * 0xCC9E2D51u;
        k = rotate(k, 15) * 0x1B873593u;
        h ^= k;
        h = rotate(h, 13) * 5 + 0xE6546B64u;
    }
    h ^= WORDS * 4;
    h ^= h >> 16;
    h *= 0x85EBCA6Bu;
    h ^= h >> 13;
    h *= 0xC2B2AE35u;
    h ^= h >> 16;
    hash = h;
}
