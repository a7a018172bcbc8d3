#include <cstdint>
// out = A^steps v, the vector held in two halves of one buffer that take turns.
static const int N = 6;

void matrix_power_chain(const int8_t a[N][N], const int32_t v[N], int steps, int64_t out[N]) {
#pragma HLS INTERFACE bram port=a
#pragma HLS INTERFACE bram port=v
#pragma HLS INTERFACE s_axilite port=steps
#pragma HLS INTERFACE bram port=out
#pragma HLS ARRAY_PARTITION variable=a complete dim=2
    int64_t held[2][N];
#pragma HLS ARRAY_PARTITION variable=held complete dim=0
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        held[0][i] = v[i];
    }
    bool side = false;
STEP:
    for (int s = 0; s < steps; s++) {
    ROW:
        for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
            int64_t sum = 0;
            for (int j = 0; j < N; j++) {
#pragma HLS UNROLL
                sum += a[i][j] * held[side][j];
            }
            held[!side][i] = sum;
        }
        side = !side;
    }
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        out[i] = held[side][i];
    }
}
