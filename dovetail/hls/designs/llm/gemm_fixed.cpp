#include <ap_fixed.h>
// C = A * B in 16-bit fixed point; the accumulator keeps every bit, the result rounds and saturates.
static const int M = 6, K = 12, N = 6;
typedef ap_fixed<16, 4> in_t;
typedef ap_fixed<36, 12> acc_t;
typedef ap_fixed<16, 6, AP_RND, AP_SAT> out_t;

void gemm_fixed(const in_t a[M][K], const in_t b[K][N], out_t c[M][N]) {
#pragma HLS INTERFACE ap_memory port=a
#pragma HLS INTERFACE ap_memory port=b
#pragma HLS INTERFACE ap_memory port=c
#pragma HLS ARRAY_PARTITION variable=a complete dim=2
#pragma HLS ARRAY_PARTITION variable=b complete dim=1
ROW:
    for (int i = 0; i < M; i++) {
    COL:
        for (int j = 0; j < N; j++) {
#pragma HLS PIPELINE II=1
            acc_t acc = 0;
        DOT:
            for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
                acc += a[i][k] * b[k][j];
            }
            c[i][j] = acc;
        }
    }
}
