#include <ap_fixed.h>
#include <ap_int.h>
// Fixed-point softmax: exp(-x) from a table of sixteen steps of 1/2, interpolated, then one division.
static const int N = 16, STEPS = 17;
typedef ap_fixed<12, 4> logit_t;
typedef ap_ufixed<18, 1> exp_t;
typedef ap_ufixed<26, 6> sum_t;
typedef ap_ufixed<16, 1, AP_RND> prob_t;

void softmax_lut(const logit_t logits[N], prob_t probs[N]) {
#pragma HLS INTERFACE ap_fifo port=logits
#pragma HLS INTERFACE ap_fifo port=probs
    static const exp_t table[STEPS] = {1.0,      0.606531, 0.367879, 0.22313,  0.135335, 0.082085,
                                       0.049787, 0.030197, 0.018316, 0.011109, 0.006738, 0.004087,
                                       0.002479, 0.001503, 0.000912, 0.000553, 0.000335};
    logit_t held[N];
    exp_t e[N];
    logit_t peak = -8;
PEAK:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        held[i] = logits[i];
        if (held[i] > peak) peak = held[i];
    }
    sum_t total = 0;
LOOKUP:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ap_ufixed<13, 5> gap = peak - held[i];
        ap_uint<6> index = (gap << 1).to_uint();
        if (index > STEPS - 2) {
            e[i] = 0;
        } else {
            ap_ufixed<13, 5> part = gap * 2 - index;
            exp_t left = table[index];
            exp_t right = table[index + 1];
            e[i] = left - (left - right) * part;
        }
        total += e[i];
    }
NORMALISE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        probs[i] = e[i] / total;
    }
}
