#include <ap_int.h>
#include <hls_stream.h>
// 24-bit pixels to luma with weights 77, 150, 29 of 256.
static const int N = 20;

void rgb_to_grey(hls::stream<ap_uint<24> > &rgb, hls::stream<ap_uint<8> > &grey) {
#pragma HLS INTERFACE axis port=rgb
#pragma HLS INTERFACE axis port=grey
PIXEL:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<24> word = rgb.read();
        ap_uint<8> r = word >> 16;
        ap_uint<8> g = word >> 8;
        ap_uint<8> b = word;
        ap_uint<16> sum = 77 * r + 150 * g + 29 * b;
        ap_uint<8> luma = sum >> 8;
        grey.write(luma);
    }
}
