#include <cstdint>
void spmv_csr(const uint8_t row_len[6], const uint8_t col[18], const float value[18], const float x[8], float y[6]) {
    double dense[6][8] = {};
    for (int r = 0, n = 0; r < 6; r++)
        for (int k = 0; k < row_len[r]; k++, n++) dense[r][col[n]] += value[n];
    for (int r = 0; r < 6; r++) {
        double sum = 0;
        for (int c = 0; c < 8; c++) sum += dense[r][c] * x[c];
        y[r] = (float)sum;
    }
}
