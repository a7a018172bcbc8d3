#include <ap_fixed.h>
#include <ap_int.h>
// Sigmoid by four straight lines on |x|, mirrored for negative inputs (the PLAN approximation).
static const int N = 16;
typedef ap_fixed<16, 5> x_t;
typedef ap_ufixed<16, 1, AP_RND, AP_SAT> y_t;

void sigmoid_pwl(const x_t x[N], y_t y[N]) {
#pragma HLS INTERFACE ap_memory port=x
#pragma HLS INTERFACE ap_memory port=y
SEGMENT:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ap_ufixed<16, 5> mag = x[i] < 0 ? x_t(-x[i]) : x[i];
        ap_ufixed<20, 2> value = 1;
        if (mag < 1) {
            value = (mag >> 2) + ap_ufixed<20, 2>(0.5);
        } else if (mag < ap_ufixed<16, 5>(2.375)) {
            value = (mag >> 3) + ap_ufixed<20, 2>(0.625);
        } else if (mag < 5) {
            value = (mag >> 5) + ap_ufixed<20, 2>(0.84375);
        }
        y[i] = x[i] < 0 ? y_t(1 - value) : y_t(value);
    }
}
