#include <cstdint>
// One step of k-means in two dimensions: nearest centres, and the new centres as integer means.
static const int N = 14, K = 3;

void kmeans_assign(const int16_t point[N][2], const int16_t centre[K][2], uint8_t label[N], int16_t moved[K][2]) {
#pragma HLS INTERFACE bram port=point
#pragma HLS INTERFACE bram port=centre
#pragma HLS INTERFACE bram port=label
#pragma HLS INTERFACE bram port=moved
#pragma HLS ARRAY_PARTITION variable=point complete dim=2
#pragma HLS ARRAY_PARTITION variable=centre complete dim=0
    int32_t sum[K][2];
    int16_t members[K];
#pragma HLS ARRAY_PARTITION variable=sum complete dim=0
#pragma HLS ARRAY_PARTITION variable=members complete
CLEAR:
    for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
        sum[k][0] = 0;
        sum[k][1] = 0;
        members[k] = 0;
    }
POINT:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=2
        int32_t least = 0x7FFFFFFF;
        uint8_t mine = 0;
        for (int k = 0; k < K; k++) {
#pragma HLS UNROLL
            int32_t dx = point[n][0] - centre[k][0];
            int32_t dy = point[n][1] - centre[k][1];
            int32_t d = dx * dx + dy * dy;
            if (d < least) {
                least = d;
                mine = k;
            }
        }
        label[n] = mine;
        members[mine]++;
        sum[mine][0] += point[n][0];
        sum[mine][1] += point[n][1];
    }
MEAN:
    for (int k = 0; k < K; k++) {
        for (int x = 0; x < 2; x++) {
#pragma HLS PIPELINE
            moved[k][x] = members[k] > 0 ? (int16_t)(sum[k][x] / members[k]) : centre[k][x];
        }
    }
}
