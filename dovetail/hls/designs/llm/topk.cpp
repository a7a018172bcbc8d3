#include <cstdint>
// The K largest scores with their places, by insertion into a short sorted list; of equal ones the first.
static const int N = 24, K = 5;

void topk(const int16_t score[N], int16_t best[K], uint8_t index[K]) {
#pragma HLS INTERFACE ap_fifo port=score
#pragma HLS INTERFACE bram port=best
#pragma HLS INTERFACE bram port=index
    int16_t top[K];
    uint8_t place[K];
#pragma HLS ARRAY_PARTITION variable=top complete
#pragma HLS ARRAY_PARTITION variable=place complete
RESET:
    for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
        top[k] = INT16_MIN;
        place[k] = 255;
    }
SCAN:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        int16_t value = score[i];
        uint8_t at = (uint8_t)i;
        bool placed = false;
    INSERT:
        for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
            if (placed || value > top[k]) {
                int16_t old = top[k];
                uint8_t from = place[k];
                top[k] = value;
                place[k] = at;
                value = old;
                at = from;
                placed = true;
            }
        }
    }
EMIT:
    for (int k = 0; k < K; k++) {
#pragma HLS PIPELINE II=1
        best[k] = top[k];
        index[k] = place[k];
    }
}
