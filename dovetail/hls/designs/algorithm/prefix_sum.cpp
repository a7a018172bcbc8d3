#include <cstdint>
// Inclusive prefix sum by doubling steps between two buffers.
static const int N = 32, LOG = 5;

void prefix_sum(const int32_t x[N], int32_t y[N]) {
#pragma HLS INTERFACE m_axi port=x bundle=gmem0
#pragma HLS INTERFACE m_axi port=y bundle=gmem1
    int32_t ping[N], pong[N];
#pragma HLS ARRAY_PARTITION variable=ping cyclic factor=4
#pragma HLS ARRAY_PARTITION variable=pong cyclic factor=4
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ping[i] = x[i];
    }
DOUBLE:
    for (int s = 0; s < LOG; s++) {
        int step = 1 << s;
    ADD:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            if (s & 1) {
                ping[i] = i >= step ? pong[i] + pong[i - step] : pong[i];
            } else {
                pong[i] = i >= step ? ping[i] + ping[i - step] : ping[i];
            }
        }
    }
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = (LOG & 1) ? pong[i] : ping[i];
    }
}
