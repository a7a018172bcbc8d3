#include <ap_int.h>
// Pack 3-bit codes into 24-bit words, eight codes a word, and mark odd parity in the top bit.
static const int WORDS = 5, PER = 8;

void bit_pack(const ap_uint<3> codes[WORDS * PER], ap_uint<25> words[WORDS]) {
#pragma HLS INTERFACE ap_fifo port=codes
#pragma HLS INTERFACE ap_fifo port=words
WORD:
    for (int w = 0; w < WORDS; w++) {
        ap_uint<25> packed = 0;
        ap_uint<1> parity = 1;
    CODE:
        for (int c = 0; c < PER; c++) {
#pragma HLS PIPELINE II=1
            ap_uint<3> code = codes[w * PER + c];
            packed |= ap_uint<25>(code) << (3 * c);
            ap_uint<1> odd = code[0] ^ code[1] ^ code[2];
            parity ^= odd;
        }
        packed |= ap_uint<25>(parity) << 24;
        words[w] = packed;
    }
}
