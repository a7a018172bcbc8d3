#include <ap_fixed.h>
// Two layers with a ReLU between them, in fixed point; the hidden row is double buffered for the task pipeline.
static const int IN = 8, HIDDEN = 12, OUT = 4;
typedef ap_fixed<16, 5> data_t;
typedef ap_fixed<16, 3> weight_t;
typedef ap_fixed<32, 12> sum_t;

static void hidden_layer(const data_t x[IN], const weight_t w1[HIDDEN][IN], const weight_t b1[HIDDEN], data_t h[HIDDEN]) {
UNIT:
    for (int j = 0; j < HIDDEN; j++) {
#pragma HLS PIPELINE II=1
        sum_t sum = b1[j];
        for (int i = 0; i < IN; i++) {
#pragma HLS UNROLL
            sum += x[i] * w1[j][i];
        }
        h[j] = sum > 0 ? data_t(sum) : data_t(0);
    }
}

static void output_layer(const data_t h[HIDDEN], const weight_t w2[OUT][HIDDEN], data_t y[OUT]) {
UNIT:
    for (int o = 0; o < OUT; o++) {
#pragma HLS PIPELINE II=1
        sum_t sum = 0;
        for (int j = 0; j < HIDDEN; j++) {
#pragma HLS UNROLL
            sum += h[j] * w2[o][j];
        }
        y[o] = sum;
    }
}

void mlp_relu(const data_t x[IN], const weight_t w1[HIDDEN][IN], const weight_t b1[HIDDEN], const weight_t w2[OUT][HIDDEN],
              data_t y[OUT]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=w1
#pragma HLS INTERFACE bram port=b1
#pragma HLS INTERFACE bram port=w2
#pragma HLS INTERFACE bram port=y
#pragma HLS ARRAY_PARTITION variable=x complete
#pragma HLS ARRAY_PARTITION variable=w1 complete dim=2
#pragma HLS ARRAY_PARTITION variable=w2 complete dim=2
#pragma HLS DATAFLOW
    data_t hidden[HIDDEN];
#pragma HLS ARRAY_PARTITION variable=hidden complete
    hidden_layer(x, w1, b1, hidden);
    output_layer(hidden, w2, y);
}
