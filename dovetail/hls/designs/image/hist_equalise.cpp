#include <cstdint>
// Equalise 4-bit grey values: histogram, running sum, then a table look-up of every pixel.
static const int N = 48, LEVELS = 16;

void hist_equalise(const uint8_t in[N], uint8_t out[N]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=out
    uint16_t count[LEVELS] = {0};
    uint8_t map[LEVELS];
#pragma HLS ARRAY_PARTITION variable=count complete
COUNT:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        count[in[i]]++;
    }
    uint16_t below = 0;
RUNNING:
    for (int l = 0; l < LEVELS; l++) {
#pragma HLS PIPELINE II=1
        below += count[l];
        uint16_t scaled = below * (LEVELS - 1);
        map[l] = scaled / N;
    }
APPLY:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        out[i] = map[in[i]];
    }
}
