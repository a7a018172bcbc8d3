#include <hls_math.h>
// One query against a cache of `length` keys and values; scores are kept, so softmax takes three passes.
static const int D = 8, MAX_LEN = 16;

void attention_decode(const float q[D], const float k_cache[MAX_LEN * D], const float v_cache[MAX_LEN * D], int length,
                      float out[D]) {
#pragma HLS INTERFACE bram port=q
#pragma HLS INTERFACE m_axi port=k_cache bundle=gmem0
#pragma HLS INTERFACE m_axi port=v_cache bundle=gmem1
#pragma HLS INTERFACE s_axilite port=length
#pragma HLS INTERFACE bram port=out
    float score[MAX_LEN];
    float q_reg[D];
    float acc[D];
#pragma HLS ARRAY_PARTITION variable=q_reg complete
#pragma HLS ARRAY_PARTITION variable=acc complete
LOAD_Q:
    for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
        q_reg[d] = q[d];
        acc[d] = 0.0f;
    }
    float best = -1e30f;
SCORES:
    for (int t = 0; t < length; t++) {
        float dot = 0.0f;
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            dot += q_reg[d] * k_cache[t * D + d];
        }
        score[t] = dot * 0.35355339f;
        if (score[t] > best) best = score[t];
    }
    float total = 0.0f;
WEIGHTS:
    for (int t = 0; t < length; t++) {
#pragma HLS PIPELINE II=1
        score[t] = hls::exp(score[t] - best);
        total += score[t];
    }
MIX:
    for (int t = 0; t < length; t++) {
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            acc[d] += score[t] * v_cache[t * D + d];
        }
    }
NORMALISE:
    for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
        out[d] = acc[d] / total;
    }
}
