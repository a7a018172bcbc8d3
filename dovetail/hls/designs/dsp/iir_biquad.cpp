#include <ap_fixed.h>
// Two biquad sections in series, direct form one, in 24-bit fixed point.
static const int N = 16, SECTIONS = 2;
typedef ap_fixed<24, 4> sample_t;
typedef ap_fixed<18, 2> coef_t;
typedef ap_fixed<42, 8> acc_t;

void iir_biquad(const sample_t x[N], sample_t y[N]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE ap_fifo port=y
    static const coef_t b[SECTIONS][3] = {{0.25, 0.5, 0.25}, {0.5, -0.25, 0.125}};
    static const coef_t a[SECTIONS][2] = {{-0.5, 0.25}, {0.375, -0.125}};
    sample_t past_in[SECTIONS][2] = {{0, 0}, {0, 0}};
    sample_t past_out[SECTIONS][2] = {{0, 0}, {0, 0}};
#pragma HLS ARRAY_PARTITION variable=past_in complete dim=0
#pragma HLS ARRAY_PARTITION variable=past_out complete dim=0
SAMPLE:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE
        sample_t value = x[n];
    SECTION:
        for (int s = 0; s < SECTIONS; s++) {
#pragma HLS UNROLL
            acc_t acc = b[s][0] * value + b[s][1] * past_in[s][0] + b[s][2] * past_in[s][1];
            acc -= a[s][0] * past_out[s][0] + a[s][1] * past_out[s][1];
            past_in[s][1] = past_in[s][0];
            past_in[s][0] = value;
            past_out[s][1] = past_out[s][0];
            past_out[s][0] = acc;
            value = acc;
        }
        y[n] = value;
    }
}
