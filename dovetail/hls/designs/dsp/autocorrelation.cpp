#include <cstdint>
// Autocorrelation at the first lags, the signal held in registers so that all lags advance together.
static const int N = 20, LAGS = 5;

void autocorrelation(const int16_t x[N], int64_t r[LAGS]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE bram port=r
    int64_t acc[LAGS] = {0};
    int16_t window[LAGS] = {0};
#pragma HLS ARRAY_PARTITION variable=acc complete
#pragma HLS ARRAY_PARTITION variable=window complete
SAMPLE:
    for (int n = 0; n < N; n++) {
#pragma HLS PIPELINE II=1
        for (int l = LAGS - 1; l > 0; l--) {
#pragma HLS UNROLL
            window[l] = window[l - 1];
        }
        window[0] = x[n];
        for (int l = 0; l < LAGS; l++) {
#pragma HLS UNROLL
            acc[l] += (int64_t)window[0] * window[l];
        }
    }
STORE:
    for (int l = 0; l < LAGS; l++) {
#pragma HLS PIPELINE II=1
        r[l] = acc[l];
    }
}
