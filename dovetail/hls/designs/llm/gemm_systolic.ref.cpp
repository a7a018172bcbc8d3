#include <cstdint>
void gemm_systolic(const int16_t a[8][8], const int16_t b[8][8], int32_t c[8][8]) {
    for (int i = 0; i < 8; i++)
        for (int j = 0; j < 8; j++) {
            int64_t sum = 0;
            for (int k = 0; k < 8; k++) sum += a[i][k] * b[k][j];
            c[i][j] = (int32_t)sum;
        }
}
