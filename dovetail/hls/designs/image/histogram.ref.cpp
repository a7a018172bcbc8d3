#include <cstdint>
void histogram(const uint8_t pixels[64], uint32_t bins[32]) {
    for (int b = 0; b < 32; b++) {
        bins[b] = 0;
        for (int i = 0; i < 64; i++) bins[b] += pixels[i] / 8 == b;
    }
}
