#include <cstdint>
// The three nearest of sixteen points in four dimensions, squared distances.
static const int N = 16, D = 4, K = 3;

void knn(const int16_t query[D], const int16_t points[N][D], uint8_t nearest[K]) {
#pragma HLS INTERFACE bram port=query
#pragma HLS INTERFACE bram port=points
#pragma HLS INTERFACE bram port=nearest
#pragma HLS ARRAY_PARTITION variable=query complete
#pragma HLS ARRAY_PARTITION variable=points complete dim=2
    int32_t best[K];
    uint8_t who[K];
#pragma HLS ARRAY_PARTITION variable=best complete
#pragma HLS ARRAY_PARTITION variable=who complete
RESET:
    for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
        best[k] = 0x7FFFFFFF;
        who[k] = 0;
    }
POINT:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=1
        int32_t distance = 0;
        for (int d = 0; d < D; d++) {
#pragma HLS UNROLL
            int32_t gap = points[n][d] - query[d];
            distance += gap * gap;
        }
        uint8_t id = n;
        for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
            if (distance < best[k]) {
                int32_t moved = best[k];
                uint8_t moved_id = who[k];
                best[k] = distance;
                who[k] = id;
                distance = moved;
                id = moved_id;
            }
        }
    }
EMIT:
    for (int k = 0; k < K; k++) {
#pragma HLS PIPELINE II=1
        nearest[k] = who[k];
    }
}
