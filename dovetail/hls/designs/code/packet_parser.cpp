#include <ap_int.h>
#include <cstdint>
#include <hls_stream.h>
// Frames of a length word (its low three bits, at least one) and that many words; their sums come out.
static const int WORDS = 24;

void packet_parser(hls::stream<ap_uint<16> > &in, hls::stream<ap_uint<20> > &sum, uint8_t &packets) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE axis port=sum
#pragma HLS INTERFACE s_axilite port=packets
    ap_uint<3> left = 0;
    ap_uint<20> total = 0;
    uint8_t count = 0;
    bool header = true;
WORD:
    for (int i = 0; i < WORDS; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<16> word = in.read();
        if (header) {
            left = word & 7;
            if (left == 0) left = 1;
            total = 0;
            header = false;
        } else {
            total += word;
            left--;
            if (left == 0) {
                sum.write(total);
                count++;
                header = true;
            }
        }
    }
    packets = count;
}
