#include <cstdint>
#include <hls_math.h>
// Quantise the rows of a KV cache to int8 with one scale for each row.
static const int TOKENS = 5, D = 12;

void kv_quantise(const float rows[TOKENS * D], int8_t codes[TOKENS * D], float scale[TOKENS]) {
#pragma HLS INTERFACE m_axi port=rows bundle=gmem0
#pragma HLS INTERFACE m_axi port=codes bundle=gmem1
#pragma HLS INTERFACE bram port=scale
TOKEN:
    for (int t = 0; t < TOKENS; t++) {
        float line[D];
        float peak = 1e-8f;
    PEAK:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            line[d] = rows[t * D + d];
            float size = hls::fabs(line[d]);
            if (size > peak) peak = size;
        }
        float step = peak / 127.0f;
        float inverse = 127.0f / peak;
        scale[t] = step;
    ROUND:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            float q = hls::round(line[d] * inverse);
            int code = (int)q;
            if (code > 127) code = 127;
            if (code < -127) code = -127;
            codes[t * D + d] = (int8_t)code;
        }
    }
}
