#include <ap_int.h>
#include <cmath>
void nco_mixer(const ap_int<12> signal[16], ap_uint<16> step, ap_int<12> mixed[16]) {
    for (int n = 0; n < 16; n++) {
        int phase = (int)((long)n * step.to_int() % 65536) / 512;
        double s = std::sin(2 * std::acos(-1.0) * phase / 128) * 2047;
        mixed[n] = (int)std::floor(signal[n].to_int() * s / 2048);
    }
}
