#include <cstdint>
// int8 scores of grouped queries: QHEADS heads share KVHEADS keys.
static const int QHEADS = 4, KVHEADS = 2, T = 6, D = 8, SHARE = QHEADS / KVHEADS;

void gqa_scores(const int8_t q[QHEADS][D], const int8_t k[KVHEADS][T][D], int32_t scores[QHEADS][T]) {
#pragma HLS INTERFACE bram port=q
#pragma HLS INTERFACE bram port=k
#pragma HLS INTERFACE bram port=scores
#pragma HLS ARRAY_PARTITION variable=q complete dim=2
#pragma HLS ARRAY_PARTITION variable=k cyclic factor=4 dim=3
KV:
    for (int g = 0; g < KVHEADS; g++) {
    TIME:
        for (int t = 0; t < T; t++) {
        SHARED:
            for (int s = 0; s < SHARE; s++) {
#pragma HLS PIPELINE II=1
                int head = g * SHARE + s;
                int32_t even = 0;
                int32_t odd = 0;
                for (int d = 0; d < D; d += 2) {
#pragma HLS UNROLL
                    even += q[head][d] * k[g][t][d];
                    odd += q[head][d + 1] * k[g][t][d + 1];
                }
                scores[head][t] = even + odd;
            }
        }
    }
}
