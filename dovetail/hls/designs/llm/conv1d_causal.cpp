// Depthwise causal convolution of four taps over a few channels, a shift register for each channel.
static const int T = 8, C = 3, K = 4;

void conv1d_causal(const float x[T * C], const float taps[C][K], float y[T * C]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE bram port=taps
#pragma HLS INTERFACE ap_fifo port=y
#pragma HLS ARRAY_PARTITION variable=taps complete dim=2
    float delay[C][K] = {};
#pragma HLS ARRAY_PARTITION variable=delay complete dim=2
TIME:
    for (int t = 0; t < T; t++) {
    CHANNEL:
        for (int c = 0; c < C; c++) {
#pragma HLS PIPELINE II=1
        SHIFT:
            for (int k = K - 1; k > 0; k--) {
#pragma HLS UNROLL
                delay[c][k] = delay[c][k - 1];
            }
            delay[c][0] = x[t * C + c];
            float sum = 0.0f;
        TAPS:
            for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
                sum += taps[c][k] * delay[c][k];
            }
            y[t * C + c] = sum;
        }
    }
}
