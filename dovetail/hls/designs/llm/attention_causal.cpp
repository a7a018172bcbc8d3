#include <hls_math.h>
// Causal attention over a short prompt, one row of scores at a time.
static const int L = 6, D = 4;

void attention_causal(const float q[L][D], const float k[L][D], const float v[L][D], float out[L][D]) {
#pragma HLS INTERFACE ap_memory port=q
#pragma HLS INTERFACE ap_memory port=k
#pragma HLS INTERFACE ap_memory port=v
#pragma HLS INTERFACE ap_memory port=out
#pragma HLS ARRAY_PARTITION variable=q complete dim=2
#pragma HLS ARRAY_PARTITION variable=k complete dim=2
#pragma HLS ARRAY_PARTITION variable=v complete dim=2
QUERY:
    for (int i = 0; i < L; i++) {
        float row[L];
        float peak = -3.0e38f;
    SCORE:
        for (int j = 0; j <= i; j++) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=6
            float dot = 0.0f;
            for (int d = 0; d < D; d++) {
#pragma HLS UNROLL
                dot += q[i][d] * k[j][d];
            }
            row[j] = dot * 0.5f;
            peak = hls::fmax(peak, row[j]);
        }
        float mass = 0.0f;
    EXP:
        for (int j = 0; j <= i; j++) {
#pragma HLS PIPELINE II=1
            row[j] = hls::exp(row[j] - peak);
            mass += row[j];
        }
        float inverse = 1.0f / mass;
    VALUE:
        for (int d = 0; d < D; d++) {
            float sum = 0.0f;
            for (int j = 0; j <= i; j++) {
#pragma HLS PIPELINE II=1
                sum += row[j] * v[j][d];
            }
            out[i][d] = sum * inverse;
        }
    }
}
