#include <cstdint>
// y = W x with W packed as two unsigned 4-bit codes a byte, a scale and a zero point for each group of 16.
static const int ROWS = 8, COLS = 32, GROUP = 16, GROUPS = COLS / GROUP;

void gemv_int4(const uint8_t w[ROWS * COLS / 2], const float x[COLS], const float scale[ROWS * GROUPS],
               const uint8_t zero[ROWS * GROUPS], float y[ROWS]) {
#pragma HLS INTERFACE m_axi port=w bundle=gmem0
#pragma HLS INTERFACE m_axi port=x bundle=gmem1
#pragma HLS INTERFACE bram port=scale
#pragma HLS INTERFACE bram port=zero
#pragma HLS INTERFACE bram port=y
    float x_buf[COLS];
#pragma HLS ARRAY_PARTITION variable=x_buf cyclic factor=2
LOAD_X:
    for (int k = 0; k < COLS; k++) {
#pragma HLS PIPELINE II=1
        x_buf[k] = x[k];
    }
ROW:
    for (int r = 0; r < ROWS; r++) {
        float acc = 0.0f;
    GROUP_LOOP:
        for (int g = 0; g < GROUPS; g++) {
            float part = 0.0f;
            uint8_t z = zero[r * GROUPS + g];
        NIBBLES:
            for (int k = 0; k < GROUP; k += 2) {
#pragma HLS PIPELINE II=1
                uint8_t packed = w[(r * COLS + g * GROUP + k) >> 1];
                int low = (packed & 0x0F) - z;
                int high = (packed >> 4) - z;
                part += low * x_buf[g * GROUP + k];
                part += high * x_buf[g * GROUP + k + 1];
            }
            acc += part * scale[r * GROUPS + g];
        }
        y[r] = acc;
    }
}
