#include <cstdint>
// Rows of an embedding table for a few tokens, each fetched as one burst, scaled by sqrt(D).
static const int VOCAB = 16, D = 16, TOKENS = 4;

void embedding(const int8_t table[VOCAB * D], const uint8_t token[TOKENS], float out[TOKENS * D]) {
#pragma HLS INTERFACE m_axi port=table bundle=gmem0 max_read_burst_length=16
#pragma HLS INTERFACE bram port=token
#pragma HLS INTERFACE m_axi port=out bundle=gmem1
    const float scale = 4.0f;
TOKEN:
    for (int t = 0; t < TOKENS; t++) {
        int8_t row[D];
        int base = token[t] * D;
    FETCH:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            row[d] = table[base + d];
        }
    SCALE:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            out[t * D + d] = row[d] * scale;
        }
    }
}
