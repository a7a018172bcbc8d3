#include <cstdint>
#include <hls_stream.h>
// Sort a stream by systolic insertion: each cell keeps the smaller of what it holds and what arrives.
static const int N = 12;

void insertion_stream(hls::stream<int16_t> &in, hls::stream<int16_t> &out) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE axis port=out
    int16_t cell[N];
#pragma HLS ARRAY_PARTITION variable=cell complete
FILL:
    for (int i = 0; i < N; i++) {
#pragma HLS UNROLL
        cell[i] = INT16_MAX;
    }
ARRIVE:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=1
        int16_t key = in.read();
    PASS_ON:
        for (int i = 0; i < N; i++) {
#pragma HLS UNROLL
            if (key < cell[i]) {
                int16_t larger = cell[i];
                cell[i] = key;
                key = larger;
            }
        }
    }
LEAVE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        out.write(cell[i]);
    }
}
