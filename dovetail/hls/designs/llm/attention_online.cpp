#include <hls_math.h>
// Attention in one pass: blocks of keys, a running maximum, and sums rescaled when it moves.
static const int LEN = 16, D = 4, BLOCK = 4;

void attention_online(const float q[D], const float keys[LEN * D], const float values[LEN * D], float out[D]) {
#pragma HLS INTERFACE bram port=q
#pragma HLS INTERFACE m_axi port=keys bundle=gmem0
#pragma HLS INTERFACE m_axi port=values bundle=gmem1
#pragma HLS INTERFACE bram port=out
    float acc[D] = {0.0f, 0.0f, 0.0f, 0.0f};
#pragma HLS ARRAY_PARTITION variable=acc complete
    float running = -1e30f;
    float mass = 0.0f;
BLOCKS:
    for (int start = 0; start < LEN; start += BLOCK) {
        float k_buf[BLOCK][D];
        float v_buf[BLOCK][D];
        float s[BLOCK];
#pragma HLS ARRAY_PARTITION variable=k_buf complete dim=2
#pragma HLS ARRAY_PARTITION variable=v_buf complete dim=1
#pragma HLS ARRAY_PARTITION variable=s complete
    FETCH_K:
        for (int t = 0; t < BLOCK; t++) {
            for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
                k_buf[t][d] = keys[(start + t) * D + d];
            }
        }
    FETCH_V:
        for (int t = 0; t < BLOCK; t++) {
            for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
                v_buf[t][d] = values[(start + t) * D + d];
            }
        }
        float peak = running;
    SCORE:
        for (int t = 0; t < BLOCK; t++) {
#pragma HLS PIPELINE II=1
            float dot = 0.0f;
            for (int d = 0; d < D; d++) {
#pragma HLS UNROLL
                dot += q[d] * k_buf[t][d];
            }
            s[t] = dot * 0.5f;
            peak = s[t] > peak ? s[t] : peak;
        }
        float correction = hls::exp(running - peak);
        mass *= correction;
    SCALE:
        for (int d = 0; d < D; d++) {
#pragma HLS UNROLL
            acc[d] *= correction;
        }
    ACCUMULATE:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            for (int t = 0; t < BLOCK; t++) {
#pragma HLS UNROLL
                float p = hls::exp(s[t] - peak);
                acc[d] += p * v_buf[t][d];
                if (d == 0) mass += p;
            }
        }
        running = peak;
    }
FINISH:
    for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
        out[d] = acc[d] / mass;
    }
}
