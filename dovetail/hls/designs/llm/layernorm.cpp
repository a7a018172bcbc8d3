#include <hls_math.h>
// Layer normalisation of one token: mean, variance, then scale and shift.
static const int N = 24;

void layernorm(const float x[N], const float gamma[N], const float beta[N], float y[N]) {
#pragma HLS INTERFACE m_axi port=x bundle=gmem0
#pragma HLS INTERFACE m_axi port=gamma bundle=gmem1
#pragma HLS INTERFACE m_axi port=beta bundle=gmem1
#pragma HLS INTERFACE m_axi port=y bundle=gmem0
    float row[N];
    float mean = 0.0f;
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        row[i] = x[i];
        mean += row[i];
    }
    mean /= N;
    float var = 0.0f;
VARIANCE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        float gap = row[i] - mean;
        var += gap * gap;
    }
    float eps = 1e-5f;
    float inverse = 1.0f / hls::sqrt(var / N + eps);
SCALE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = (row[i] - mean) * inverse * gamma[i] + beta[i];
    }
}
