#include <cstdint>
// y = scale[row] * (W x), W and x in int8, the row unrolled by four by hand.
static const int ROWS = 12, COLS = 32;

void gemv_int8(const int8_t w[ROWS * COLS], const int8_t x[COLS], const float scale[ROWS], float y[ROWS]) {
#pragma HLS INTERFACE m_axi port=w bundle=gmem0
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=scale
#pragma HLS INTERFACE bram port=y
    int8_t x_local[COLS];
#pragma HLS ARRAY_PARTITION variable=x_local cyclic factor=4
COPY:
    for (int k = 0; k < COLS; k++) {
#pragma HLS PIPELINE II=1
        x_local[k] = x[k];
    }
ROW:
    for (int r = 0; r < ROWS; r++) {
        int8_t line[COLS];
#pragma HLS ARRAY_PARTITION variable=line cyclic factor=4
    BURST:
        for (int k = 0; k < COLS; k++) {
#pragma HLS PIPELINE II=1
            line[k] = w[r * COLS + k];
        }
        int32_t acc = 0;
    DOT:
        for (int k = 0; k < COLS; k += 4) {
#pragma HLS PIPELINE II=1
            int32_t p0 = line[k] * x_local[k];
            int32_t p1 = line[k + 1] * x_local[k + 1];
            int32_t p2 = line[k + 2] * x_local[k + 2];
            int32_t p3 = line[k + 3] * x_local[k + 3];
            acc += (p0 + p1) + (p2 + p3);
        }
        y[r] = acc * scale[r];
    }
}
