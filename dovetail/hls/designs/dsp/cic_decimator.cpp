#include <cstdint>
#include <hls_stream.h>
// A three-stage CIC filter that keeps one sample in four; the integrators may wrap, the combs undo it.
static const int N = 32, R = 4, STAGES = 3;

void cic_decimator(hls::stream<int16_t> &in, hls::stream<int32_t> &out) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE axis port=out
    uint32_t integrator[STAGES] = {0, 0, 0};
    uint32_t comb[STAGES] = {0, 0, 0};
#pragma HLS ARRAY_PARTITION variable=integrator complete
#pragma HLS ARRAY_PARTITION variable=comb complete
FRAME:
    for (int n = 0; n < N / R; n++) {
        uint32_t value = 0;
    INTEGRATE:
        for (int r = 0; r < R; r++) {
#pragma HLS PIPELINE II=1
            value = (uint32_t)(int32_t)in.read();
            for (int s = 0; s < STAGES; s++) {
#pragma HLS UNROLL
                integrator[s] += value;
                value = integrator[s];
            }
        }
    COMB:
        for (int s = 0; s < STAGES; s++) {
#pragma HLS UNROLL
            uint32_t gap = value - comb[s];
            comb[s] = value;
            value = gap;
        }
        out.write((int32_t)value);
    }
}
