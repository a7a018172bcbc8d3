#include <cstdint>
// Radix-2 FFT of 16 points: bit-reversed load, four stages in place, twiddles from a table.
static const int N = 16, LOG = 4;

void fft16(const float re[N], const float im[N], float out_re[N], float out_im[N]) {
#pragma HLS INTERFACE bram port=re
#pragma HLS INTERFACE bram port=im
#pragma HLS INTERFACE bram port=out_re
#pragma HLS INTERFACE bram port=out_im
    static const float tw_re[N / 2] = {1.0f, 0.92387953f, 0.70710678f, 0.38268343f, 0.0f, -0.38268343f, -0.70710678f, -0.92387953f};
    static const float tw_im[N / 2] = {0.0f, -0.38268343f, -0.70710678f, -0.92387953f, -1.0f, -0.92387953f, -0.70710678f, -0.38268343f};
    float a_re[N], a_im[N];
REVERSE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        uint8_t r = 0;
        for (int b = 0; b < LOG; b++) {
#pragma HLS UNROLL
            r |= ((i >> b) & 1) << (LOG - 1 - b);
        }
        a_re[r] = re[i];
        a_im[r] = im[i];
    }
STAGE:
    for (int s = 1; s <= LOG; s++) {
        int half = 1 << (s - 1);
    BUTTERFLY:
        for (int j = 0; j < N / 2; j++) {
#pragma HLS PIPELINE II=2
#pragma HLS DEPENDENCE variable=a_re inter false
#pragma HLS DEPENDENCE variable=a_im inter false
            int k = j & (half - 1);
            int top = ((j >> (s - 1)) << s) + k;
            int bottom = top + half;
            int w = k << (LOG - s);
            float t_re = a_re[bottom] * tw_re[w] - a_im[bottom] * tw_im[w];
            float t_im = a_re[bottom] * tw_im[w] + a_im[bottom] * tw_re[w];
            a_re[bottom] = a_re[top] - t_re;
            a_im[bottom] = a_im[top] - t_im;
            a_re[top] += t_re;
            a_im[top] += t_im;
        }
    }
WRITE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        out_re[i] = a_re[i];
        out_im[i] = a_im[i];
    }
}
