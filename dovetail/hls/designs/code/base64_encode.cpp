#include <cstdint>
// Base64 of whole groups of three bytes.
static const int GROUPS = 6;

static char letter(uint8_t code) {
#pragma HLS INLINE
    if (code < 26) return 'A' + code;
    if (code < 52) return 'a' + (code - 26);
    if (code < 62) return '0' + (code - 52);
    return code == 62 ? '+' : '/';
}

void base64_encode(const uint8_t in[3 * GROUPS], char out[4 * GROUPS]) {
#pragma HLS INTERFACE m_axi port=in bundle=gmem0
#pragma HLS INTERFACE m_axi port=out bundle=gmem1
GROUP:
    for (int g = 0; g < GROUPS; g++) {
#pragma HLS PIPELINE II=4
        uint32_t word = 0;
        for (int b = 0; b < 3; b++) {
#pragma HLS UNROLL
            word = (word << 8) | in[3 * g + b];
        }
        for (int c = 0; c < 4; c++) {
#pragma HLS UNROLL
            uint8_t code = (word >> (18 - 6 * c)) & 0x3F;
            out[4 * g + c] = letter(code);
        }
    }
}
