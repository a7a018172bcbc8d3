#include <cstdint>
// Fast Walsh-Hadamard transform in place between two banks, as rotations before quantisation use it.
static const int N = 16, LOG = 4;

void hadamard(const int16_t x[N], int32_t y[N]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=y
    int32_t bank[2][N];
#pragma HLS ARRAY_PARTITION variable=bank complete dim=1
#pragma HLS ARRAY_PARTITION variable=bank cyclic factor=2 dim=2
READ:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        bank[0][i] = x[i];
    }
STAGE:
    for (int s = 0; s < LOG; s++) {
        int from = s & 1;
        int step = 1 << s;
    BUTTERFLY:
        for (int i = 0; i < N / 2; i++) {
#pragma HLS PIPELINE II=1
            int block = i >> s;
            int a = (block << (s + 1)) + (i & (step - 1));
            int b = a + step;
            bank[1 - from][a] = bank[from][a] + bank[from][b];
            bank[1 - from][b] = bank[from][a] - bank[from][b];
        }
    }
WRITE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = bank[LOG & 1][i];
    }
}
