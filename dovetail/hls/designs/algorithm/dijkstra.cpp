#include <cstdint>
// Shortest paths from node 0 in a complete graph of seven nodes.
static const int N = 7;

void dijkstra(const uint8_t weight[N][N], uint16_t distance[N]) {
#pragma HLS INTERFACE bram port=weight
#pragma HLS INTERFACE bram port=distance
    uint16_t best[N];
    bool done[N];
#pragma HLS ARRAY_PARTITION variable=best complete
#pragma HLS ARRAY_PARTITION variable=done complete
START:
    for (int i = 0; i < N; i++) {
#pragma HLS UNROLL
        best[i] = 0xFFFF;
        done[i] = false;
    }
    best[0] = 0;
SETTLE:
    for (int round = 0; round < N; round++) {
        int nearest = 0;
        uint16_t least = 0xFFFF;
    PICK:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            if (!done[i] && best[i] < least) {
                least = best[i];
                nearest = i;
            }
        }
        done[nearest] = true;
    RELAX:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            uint16_t through = least + weight[nearest][i];
            if (!done[i] && through < best[i]) best[i] = through;
        }
    }
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        distance[i] = best[i];
    }
}
