#include <cstdint>
// A 32-bin histogram; the last bin is kept in a register so that equal neighbours do not stall the memory.
static const int N = 64, BINS = 32;

void histogram(const uint8_t pixels[N], uint32_t bins[BINS]) {
#pragma HLS INTERFACE m_axi port=pixels bundle=gmem0
#pragma HLS INTERFACE m_axi port=bins bundle=gmem1
    uint32_t local[BINS];
CLEAR:
    for (int b = 0; b < BINS; b++) {
#pragma HLS PIPELINE II=1
        local[b] = 0;
    }
    uint8_t held_bin = pixels[0] >> 3;
    uint32_t held_count = 0;
COUNT:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS DEPENDENCE variable=local intra WAR false
        uint8_t bin = pixels[i] >> 3;
        if (bin == held_bin) {
            held_count++;
        } else {
            local[held_bin] = held_count;
            held_count = local[bin] + 1;
            held_bin = bin;
        }
    }
    local[held_bin] = held_count;
STORE:
    for (int b = 0; b < BINS; b++) {
#pragma HLS PIPELINE II=1
        bins[b] = local[b];
    }
}
