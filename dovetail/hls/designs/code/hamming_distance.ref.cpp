#include <cstdint>
void hamming_distance(const uint32_t a[2], const uint32_t b[20], uint8_t &best, uint8_t &distance) {
    distance = 255;
    for (int i = 0; i < 10; i++) {
        int n = 0;
        for (int k = 0; k < 64; k++) n += (a[k / 32] >> k % 32 & 1) != (b[2 * i + k / 32] >> k % 32 & 1);
        if (n < distance) {
            distance = (uint8_t)n;
            best = (uint8_t)i;
        }
    }
}
