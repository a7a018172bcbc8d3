#include <cstdint>
// Sparse matrix times vector in the CSR format, at most three entries a row here.
static const int ROWS = 6, COLS = 8, NNZ = 18;

void spmv_csr(const uint8_t row_len[ROWS], const uint8_t col[NNZ], const float value[NNZ], const float x[COLS], float y[ROWS]) {
#pragma HLS INTERFACE bram port=row_len
#pragma HLS INTERFACE m_axi port=col bundle=gmem0
#pragma HLS INTERFACE m_axi port=value bundle=gmem1
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=y
    float local_x[COLS];
COPY:
    for (int c = 0; c < COLS; c++) {
#pragma HLS PIPELINE II=1
        local_x[c] = x[c];
    }
    int at = 0;
ROW:
    for (int r = 0; r < ROWS; r++) {
        float sum = 0.0f;
        int end = at + row_len[r];
    ENTRY:
        while (at < end) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=0 max=3
            sum += value[at] * local_x[col[at]];
            at++;
        }
        y[r] = sum;
    }
}
