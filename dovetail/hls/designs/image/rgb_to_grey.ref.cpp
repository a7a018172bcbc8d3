#include <ap_int.h>
#include <hls_stream.h>
void rgb_to_grey(hls::stream<ap_uint<24> > &rgb, hls::stream<ap_uint<8> > &grey) {
    while (!rgb.empty()) {
        unsigned word = rgb.read().to_uint();
        grey.write((77 * (word / 65536) + 150 * (word / 256 % 256) + 29 * (word % 256)) / 256);
    }
}
