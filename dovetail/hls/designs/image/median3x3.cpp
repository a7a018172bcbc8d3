#include <cstdint>
// Median of each 3 x 3 neighbourhood by an odd-even sorting network; borders are copied.
static const int H = 6, W = 6;

static uint8_t median_of(uint8_t v[9]) {
#pragma HLS INLINE
PASS:
    for (int p = 0; p < 9; p++) {
#pragma HLS UNROLL
        for (int i = p & 1; i + 1 < 9; i += 2) {
#pragma HLS UNROLL
            if (v[i] > v[i + 1]) {
                uint8_t t = v[i];
                v[i] = v[i + 1];
                v[i + 1] = t;
            }
        }
    }
    return v[4];
}

void median3x3(const uint8_t in[H][W], uint8_t out[H][W]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=out
#pragma HLS ARRAY_PARTITION variable=in cyclic factor=3 dim=1
#pragma HLS ARRAY_PARTITION variable=in complete dim=2
ROW:
    for (int r = 0; r < H; r++) {
    COL:
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            uint8_t v[9];
#pragma HLS ARRAY_PARTITION variable=v complete
            if (r == 0 || c == 0 || r == H - 1 || c == W - 1) {
                out[r][c] = in[r][c];
            } else {
                for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
                    for (int j = 0; j < 3; j++) {
#pragma HLS UNROLL
                        v[i * 3 + j] = in[r + i - 1][c + j - 1];
                    }
                }
                out[r][c] = median_of(v);
            }
        }
    }
}
