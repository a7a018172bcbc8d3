#include <cstdint>
void gemv_int8(const int8_t w[384], const int8_t x[32], const float scale[12], float y[12]) {
    for (int r = 0; r < 12; r++) {
        double sum = 0;
        for (int k = 0; k < 32; k++) sum += (double)w[r * 32 + k] * x[k];
        y[r] = (float)(sum * scale[r]);
    }
}
