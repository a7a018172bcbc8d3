#include <cstdint>
#include <hls_stream.h>
// Run-length encoding of a stream of symbols: pairs of symbol and length, runs of at most fifteen.
static const int N = 20, MAX_RUN = 15;

void run_length(hls::stream<uint8_t> &in, hls::stream<uint16_t> &out, int &runs) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE axis port=out
#pragma HLS INTERFACE s_axilite port=runs
    uint8_t symbol = in.read();
    uint8_t length = 1;
    int made = 0;
SCAN:
    for (int i = 1; i < N; i++) {
#pragma HLS PIPELINE II=1
        uint8_t next = in.read();
        if (next == symbol && length < MAX_RUN) {
            length++;
        } else {
            out.write((uint16_t)((symbol << 8) | length));
            made++;
            symbol = next;
            length = 1;
        }
    }
    out.write((uint16_t)((symbol << 8) | length));
    runs = made + 1;
}
