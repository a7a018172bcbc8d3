#include <cstdint>
void gemv_int4(const uint8_t w[128], const float x[32], const float scale[16], const uint8_t zero[16], float y[8]) {
    for (int r = 0; r < 8; r++) {
        double sum = 0;
        for (int k = 0; k < 32; k++) {
            int at = r * 32 + k, code = at % 2 ? w[at / 2] / 16 : w[at / 2] % 16, group = r * 2 + k / 16;
            sum += (double)scale[group] * (code - zero[group]) * x[k];
        }
        y[r] = (float)sum;
    }
}
