#include <ap_fixed.h>
// A symmetric FIR over a block: samples that share a coefficient are added before the product.
static const int N = 24, TAPS = 8, HALF = TAPS / 2;
typedef ap_fixed<16, 1> sample_t;
typedef ap_fixed<16, 1> coef_t;
typedef ap_fixed<36, 5> acc_t;
typedef ap_fixed<18, 2, AP_RND, AP_SAT> out_t;

void fir_symmetric(const sample_t x[N], out_t y[N]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE ap_fifo port=y
    static const coef_t c[HALF] = {-0.03125, 0.0625, 0.203125, 0.3125};
    sample_t line[TAPS];
#pragma HLS ARRAY_PARTITION variable=line complete
CLEAR:
    for (int i = 0; i < TAPS; i++) {
#pragma HLS UNROLL
        line[i] = 0;
    }
SAMPLE:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=1
        for (int i = TAPS - 1; i > 0; i--) {
#pragma HLS UNROLL
            line[i] = line[i - 1];
        }
        line[0] = x[n];
        acc_t acc = 0;
        for (int i = 0; i < HALF; i++) {
#pragma HLS UNROLL
            ap_fixed<17, 2> pre = line[i] + line[TAPS - 1 - i];
            acc += pre * c[i];
        }
        y[n] = acc;
    }
}
