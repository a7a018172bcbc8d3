#include <ap_int.h>
#include <cstdint>
// Logits of tokens already seen are divided (or multiplied when negative) by a penalty, once each.
static const int VOCAB = 32, HISTORY = 12;

void repetition_penalty(const float logits[VOCAB], const uint8_t history[HISTORY], int count, float penalty,
                        float out[VOCAB]) {
#pragma HLS INTERFACE m_axi port=logits bundle=gmem0
#pragma HLS INTERFACE m_axi port=history bundle=gmem1
#pragma HLS INTERFACE s_axilite port=count
#pragma HLS INTERFACE s_axilite port=penalty
#pragma HLS INTERFACE m_axi port=out bundle=gmem2
    ap_uint<VOCAB> seen = 0;
MARK:
    for (int i = 0; i < count; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<5> token = history[i];
        seen[token] = 1;
    }
    float inverse = 1.0f / penalty;
APPLY:
    for (int v = 0; v < VOCAB; v++) {
#pragma HLS PIPELINE II=1
        float value = logits[v];
        float factor = 1.0f;
        if (seen[v]) factor = value > 0 ? inverse : penalty;
        out[v] = value * factor;
    }
}
