#include <ap_int.h>
#include <cstdint>
// 32-bit words of eight signed 4-bit codes into floats, a scale for each word.
static const int WORDS = 8, PER = 8;

void dequant_int4(const ap_uint<32> packed[WORDS], const float scale[WORDS], float out[WORDS * PER]) {
#pragma HLS INTERFACE m_axi port=packed bundle=gmem0
#pragma HLS INTERFACE bram port=scale
#pragma HLS INTERFACE bram port=out
#pragma HLS ARRAY_PARTITION variable=out cyclic factor=8
WORD:
    for (int w = 0; w < WORDS; w++) {
#pragma HLS PIPELINE II=1
        ap_uint<32> word = packed[w];
        float s = scale[w];
    CODE:
        for (int c = 0; c < PER; c++) {
#pragma HLS UNROLL
            ap_int<4> code = word.range(4 * c + 3, 4 * c);
            out[w * PER + c] = code.to_int() * s;
        }
    }
}
