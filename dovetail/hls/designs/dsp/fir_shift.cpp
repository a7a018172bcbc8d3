#include <cstdint>
// A FIR filter called once a sample; its delay line is static.
static const int TAPS = 9;

void fir_shift(int16_t x, int32_t &y) {
#pragma HLS INTERFACE ap_none port=x
#pragma HLS INTERFACE ap_vld port=y
#pragma HLS PIPELINE II=1
    static const int16_t coefficient[TAPS] = {-3, 11, 40, 92, 120, 92, 40, 11, -3};
    static int16_t line[TAPS] = {};
#pragma HLS ARRAY_PARTITION variable=line complete
    int32_t acc = 0;
TAP:
    for (int i = TAPS - 1; i >= 0; i--) {
#pragma HLS UNROLL
        if (i == 0) {
            line[0] = x;
        } else {
            line[i] = line[i - 1];
        }
        acc += line[i] * coefficient[i];
    }
    y = acc >> 4;
}
