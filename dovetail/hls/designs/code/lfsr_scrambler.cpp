#include <ap_int.h>
#include <hls_stream.h>
// Scramble bytes with the 7-bit generator x^7 + x^4 + 1, eight bits of it a byte.
static const int N = 16;

void lfsr_scrambler(hls::stream<ap_uint<8> > &in, ap_uint<7> seed, hls::stream<ap_uint<8> > &out) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE ap_none port=seed
#pragma HLS INTERFACE axis port=out
    ap_uint<7> state = seed;
BYTE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<8> mask = 0;
    BIT:
        for (int b = 0; b < 8; b++) {
#pragma HLS UNROLL
            ap_uint<1> bit = state[6] ^ state[3];
            state = (state << 1) | bit;
            mask[b] = bit;
        }
        out.write(in.read() ^ mask);
    }
}
