#include <cstdint>
static int times(int a, int b) {
    int p = 0;
    for (; b; b /= 2, a = a * 2 > 255 ? (a * 2) ^ 0x11B : a * 2) if (b % 2) p ^= a;
    return p;
}
void aes_round(const uint8_t state[16], const uint8_t key[16], uint8_t out[16]) {
    const int mix[4] = {2, 3, 1, 1};
    for (int c = 0; c < 4; c++)
        for (int r = 0; r < 4; r++) {
            int sum = key[4 * c + r];
            for (int k = 0; k < 4; k++) sum ^= times(state[4 * ((c + k) % 4) + k], mix[(k - r + 4) % 4]);
            out[4 * c + r] = (uint8_t)sum;
        }
}
