#include <cstdint>
void gemm_tiled(const int8_t a[256], const int8_t b[256], int32_t c[256]) {
    for (int i = 0; i < 16; i++)
        for (int j = 0; j < 16; j++) {
            int32_t sum = 0;
            for (int k = 0; k < 16; k++) sum += a[i * 16 + k] * b[k * 16 + j];
            c[i * 16 + j] = sum;
        }
}
