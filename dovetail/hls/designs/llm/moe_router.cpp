#include <cstdint>
#include <hls_math.h>
// Two experts a token and their normalised weights.
static const int TOKENS = 4, EXPERTS = 8;

void moe_router(const float logits[TOKENS][EXPERTS], uint8_t expert[TOKENS][2], float weight[TOKENS][2]) {
#pragma HLS INTERFACE bram port=logits
#pragma HLS INTERFACE bram port=expert
#pragma HLS INTERFACE bram port=weight
TOKEN:
    for (int t = 0; t < TOKENS; t++) {
        float first = -1e30f, second = -1e30f;
        uint8_t first_at = 0, second_at = 0;
    SCAN:
        for (int e = 0; e < EXPERTS; e++) {
#pragma HLS PIPELINE II=1
            float value = logits[t][e];
            if (value > first) {
                second = first;
                second_at = first_at;
                first = value;
                first_at = e;
            } else if (value > second) {
                second = value;
                second_at = e;
            }
        }
        float ratio = hls::exp(second - first);
        float share = 1.0f / (1.0f + ratio);
        expert[t][0] = first_at;
        expert[t][1] = second_at;
        weight[t][0] = share;
        weight[t][1] = ratio * share;
    }
}
