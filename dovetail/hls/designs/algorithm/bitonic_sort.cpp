#include <cstdint>
// A bitonic sorting network for sixteen keys; every stage compares all pairs at once.
static const int N = 16, LOG = 4;

void bitonic_sort(const int16_t x[N], int16_t y[N]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=y
    int16_t v[N];
#pragma HLS ARRAY_PARTITION variable=v complete
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        v[i] = x[i];
    }
SIZE:
    for (int k = 2; k <= N; k <<= 1) {
    DISTANCE:
        for (int j = k >> 1; j > 0; j >>= 1) {
#pragma HLS PIPELINE II=1
        PAIR:
            for (int i = 0; i < N; i++) {
#pragma HLS UNROLL
                int other = i ^ j;
                if (other > i) {
                    bool up = (i & k) == 0;
                    bool wrong = up ? v[i] > v[other] : v[i] < v[other];
                    int16_t low = v[i];
                    int16_t high = v[other];
                    v[i] = wrong ? high : low;
                    v[other] = wrong ? low : high;
                }
            }
        }
    }
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = v[i];
    }
}
