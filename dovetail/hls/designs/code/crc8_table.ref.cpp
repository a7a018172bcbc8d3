#include <ap_int.h>
#include <hls_stream.h>
void crc8_table(hls::stream<ap_uint<8> > &in, ap_uint<8> &crc) {
    unsigned rest = 0;
    while (!in.empty()) {
        rest ^= in.read().to_uint();
        for (int b = 0; b < 8; b++) rest = (rest & 0x80 ? rest * 2 ^ 0x07 : rest * 2) & 0xFF;
    }
    crc = rest;
}
