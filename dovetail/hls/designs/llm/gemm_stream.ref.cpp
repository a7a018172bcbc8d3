#include <cstdint>
void gemm_stream(const int16_t a[48], const int16_t b[8][5], int32_t c[30]) {
    for (int r = 0; r < 6; r++)
        for (int p = 0; p < 5; p++) {
            int64_t sum = 0;
            for (int d = 0; d < 8; d++) sum += a[r * 8 + d] * b[d][p];
            c[r * 5 + p] = (int32_t)sum;
        }
}
