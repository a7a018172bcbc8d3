#include <hls_math.h>
// Root-mean-square norm with the squares summed in four lanes.
static const int N = 32, LANES = 4;

void rmsnorm(const float x[N], const float weight[N], float y[N]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=weight
#pragma HLS INTERFACE bram port=y
#pragma HLS ARRAY_PARTITION variable=x cyclic factor=2
    float lane[LANES] = {0.0f};
#pragma HLS ARRAY_PARTITION variable=lane complete dim=1
SQUARES:
    for (int i = 0; i < N; i += LANES) {
#pragma HLS PIPELINE II=1
        lane[0] += x[i] * x[i];
        lane[1] += x[i + 1] * x[i + 1];
        lane[2] += x[i + 2] * x[i + 2];
        lane[3] += x[i + 3] * x[i + 3];
    }
    float mean = ((lane[0] + lane[1]) + (lane[2] + lane[3])) * (1.0f / N);
    float scale = hls::rsqrt(mean + 1e-6f);
SCALE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = x[i] * scale * weight[i];
    }
}
