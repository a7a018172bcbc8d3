#include <ap_int.h>
// A numerically controlled oscillator and mixer: a 16-bit phase, a quarter-wave table of 32 entries.
static const int N = 16;
typedef ap_int<12> sample_t;

static ap_int<12> wave(ap_uint<7> phase) {
#pragma HLS INLINE
    static const short table[33] = {0,    100,  201,  301,  400,  498,  595,  690,  784,  876,  965,
                                    1052, 1137, 1219, 1299, 1375, 1447, 1517, 1582, 1644, 1702, 1756,
                                    1805, 1850, 1891, 1927, 1959, 1986, 2008, 2025, 2037, 2045, 2047};
    ap_uint<5> low = phase;
    ap_uint<6> index = phase[5] ? ap_uint<6>(32 - low) : ap_uint<6>(low);
    ap_int<12> value = table[index];
    return phase[6] ? ap_int<12>(-value) : value;
}

void nco_mixer(const sample_t signal[N], ap_uint<16> step, sample_t mixed[N]) {
#pragma HLS INTERFACE ap_fifo port=signal
#pragma HLS INTERFACE ap_stable port=step
#pragma HLS INTERFACE ap_fifo port=mixed
    ap_uint<16> phase = 0;
SAMPLE:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=1
        ap_uint<7> top = phase >> 9;
        ap_int<24> product = signal[n] * wave(top);
        mixed[n] = product >> 11;
        phase += step;
    }
}
