#include <cstdint>
// Write one key into a ring of SLOTS rows and gather the window that attention will read, oldest first.
static const int SLOTS = 8, D = 4, SINK = 2;

void kv_update(int16_t cache[SLOTS * D], const int16_t key[D], int position, int16_t window[SLOTS * D]) {
#pragma HLS INTERFACE m_axi port=cache bundle=gmem0
#pragma HLS INTERFACE bram port=key
#pragma HLS INTERFACE s_axilite port=position
#pragma HLS INTERFACE m_axi port=window bundle=gmem1
    const int ring = SLOTS - SINK;
    int slot = position < SLOTS ? position : SINK + (position - SINK) % ring;
APPEND:
    for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
        cache[slot * D + d] = key[d];
    }
    int oldest = position < SLOTS ? SINK : SINK + (position - SINK + 1) % ring;
GATHER:
    for (int s = 0; s < SLOTS; s++) {
        int from = s < SINK ? s : oldest + (s - SINK);
        if (from >= SLOTS) from -= ring;
    ROW:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            window[s * D + d] = cache[from * D + d];
        }
    }
}
