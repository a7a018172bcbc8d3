#include <cstdint>
// An 8 x 8 output-stationary array: operands move right and down by one processing element each step.
static const int S = 8;

void gemm_systolic(const int16_t a[S][S], const int16_t b[S][S], int32_t c[S][S]) {
#pragma HLS INTERFACE bram port=a
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE bram port=c
    int16_t right[S][S] = {};
    int16_t down[S][S] = {};
    int32_t sum[S][S] = {};
#pragma HLS ARRAY_PARTITION variable=right complete dim=0
#pragma HLS ARRAY_PARTITION variable=down complete dim=0
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
#pragma HLS ARRAY_PARTITION variable=a complete dim=1
#pragma HLS ARRAY_PARTITION variable=b complete dim=2
STEP:
    for (int t = 0; t < 3 * S - 2; t++) {
#pragma HLS PIPELINE II=1
    ROW:
        for (int i = S - 1; i >= 0; i--) {
#pragma HLS UNROLL
        COL:
            for (int j = S - 1; j >= 0; j--) {
#pragma HLS UNROLL
                int ka = t - i;
                int kb = t - j;
                int16_t x = j > 0 ? right[i][j - 1] : (ka >= 0 && ka < S) ? a[i][ka] : (int16_t)0;
                int16_t y = i > 0 ? down[i - 1][j] : (kb >= 0 && kb < S) ? b[kb][j] : (int16_t)0;
                sum[i][j] += x * y;
                right[i][j] = x;
                down[i][j] = y;
            }
        }
    }
DRAIN:
    for (int i = 0; i < S; i++) {
        for (int j = 0; j < S; j++) {
#pragma HLS PIPELINE II=1
            c[i][j] = sum[i][j];
        }
    }
}
