#include <cstdint>
static uint32_t mirror(uint32_t x, int bits) {
    uint32_t y = 0;
    for (int i = 0; i < bits; i++) if (x >> i & 1) y |= 1u << (bits - 1 - i);
    return y;
}
void crc32(const uint8_t data[32], int length, uint32_t &crc) {
    uint32_t rest = 0xFFFFFFFFu;
    for (int i = 0; i < length; i++) {
        rest ^= mirror(data[i], 8) << 24;
        for (int b = 0; b < 8; b++) rest = (rest << 1) ^ (rest >> 31 ? 0x04C11DB7u : 0);
    }
    crc = ~mirror(rest, 32);
}
