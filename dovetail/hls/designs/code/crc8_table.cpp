#include <ap_int.h>
#include <cstdint>
#include <hls_stream.h>
// CRC-8 (x^8 + x^2 + x + 1) of a stream, four bits at a time from a table of sixteen.
static const int N = 24;

void crc8_table(hls::stream<ap_uint<8> > &in, ap_uint<8> &crc) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE ap_vld port=crc
    static const uint8_t table[16] = {0x00, 0x07, 0x0E, 0x09, 0x1C, 0x1B, 0x12, 0x15, 0x38, 0x3F, 0x36, 0x31, 0x24, 0x23, 0x2A, 0x2D};
    ap_uint<8> state = 0;
BYTE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        ap_uint<8> next = in.read() ^ state;
        ap_uint<4> high = next >> 4;
        next = (next << 4) ^ table[high];
        ap_uint<4> top = next >> 4;
        state = (next << 4) ^ table[top];
    }
    crc = state;
}
