#include <cstdint>
void xtea(const uint32_t block[2], const uint32_t key[4], uint32_t out[2]) {
    const uint64_t M = 4294967296ull;
    uint64_t v0 = block[0], v1 = block[1], sum = 0;
    for (int i = 0; i < 32; i++) {
        v0 = (v0 + (((v1 * 16 % M ^ v1 / 32) + v1) % M ^ (sum + key[sum % 4]) % M)) % M;
        sum = (sum + 0x9E3779B9ull) % M;
        v1 = (v1 + (((v0 * 16 % M ^ v0 / 32) + v0) % M ^ (sum + key[sum / 2048 % 4]) % M)) % M;
    }
    out[0] = (uint32_t)v0;
    out[1] = (uint32_t)v1;
}
