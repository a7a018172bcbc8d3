#include <hls_math.h>
// Softmax with the maximum taken out first, four elements a step.
static const int N = 32, U = 4;

void softmax_stable(const float in[N], float out[N]) {
#pragma HLS INTERFACE ap_memory port=in
#pragma HLS INTERFACE ap_memory port=out
    float buf[N];
    float peaks[U];
    float sums[U];
#pragma HLS ARRAY_PARTITION variable=in cyclic factor=4
#pragma HLS ARRAY_PARTITION variable=out cyclic factor=4
#pragma HLS ARRAY_PARTITION variable=buf cyclic factor=4
#pragma HLS ARRAY_PARTITION variable=peaks complete
#pragma HLS ARRAY_PARTITION variable=sums complete
RESET:
    for (int u = 0; u < U; u++) {
#pragma HLS UNROLL
        peaks[u] = -1.0e38f;
        sums[u] = 0.0f;
    }
PEAK:
    for (int i = 0; i < N; i += U) {
#pragma HLS PIPELINE II=1
        for (int u = 0; u < U; u++) {
#pragma HLS UNROLL
            buf[i + u] = in[i + u];
            if (buf[i + u] > peaks[u]) peaks[u] = buf[i + u];
        }
    }
    float peak = peaks[0];
JOIN_PEAK:
    for (int u = 1; u < U; u++) {
#pragma HLS UNROLL
        if (peaks[u] > peak) peak = peaks[u];
    }
EXP:
    for (int i = 0; i < N; i += U) {
#pragma HLS PIPELINE II=1
        for (int u = 0; u < U; u++) {
#pragma HLS UNROLL
            float e = hls::exp(buf[i + u] - peak);
            buf[i + u] = e;
            sums[u] += e;
        }
    }
    float total = (sums[0] + sums[1]) + (sums[2] + sums[3]);
    float inverse = 1.0f / total;
SCALE:
    for (int i = 0; i < N; i += U) {
#pragma HLS PIPELINE II=1
        for (int u = 0; u < U; u++) {
#pragma HLS UNROLL
            out[i + u] = buf[i + u] * inverse;
        }
    }
}
