#include <cstdint>
static const uint64_t M = 4294967296ull;
static uint64_t mul(uint64_t a, uint64_t b) { return a * b % M; }
static uint64_t rol(uint64_t x, int r) { return x * (1ull << r) % M + x / (M >> r); }
void murmur_hash(const uint32_t key[4], uint32_t seed, uint32_t &hash) {
    uint64_t h = seed;
    for (int i = 0; i < 4; i++) {
        h ^= mul(rol(mul(key[i], 0xCC9E2D51), 15), 0x1B873593);
        h = (mul(rol(h, 13), 5) + 0xE6546B64) % M;
    }
    h ^= 16;
    h = mul(h ^ h / 65536, 0x85EBCA6B);
    h = mul(h ^ h / 8192, 0xC2B2AE35);
    hash = (uint32_t)(h ^ h / 65536);
}
