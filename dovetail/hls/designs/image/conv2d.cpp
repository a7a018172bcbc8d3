#include <cstdint>
// 3 x 3 convolution over a padded tile kept on chip, two output channels at once.
static const int H = 6, W = 6, CO = 2, K = 3;

void conv2d(const uint8_t in[H][W], const int8_t kernel[CO][K][K], int32_t out[CO][H][W]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=kernel
#pragma HLS INTERFACE bram port=out
    uint8_t tile[H + 2][W + 2] = {};
    int8_t weight[CO][K][K];
#pragma HLS ARRAY_PARTITION variable=tile cyclic factor=3 dim=1
#pragma HLS ARRAY_PARTITION variable=tile complete dim=2
#pragma HLS ARRAY_PARTITION variable=weight complete dim=0
LOAD:
    for (int r = 0; r < H; r++) {
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            tile[r + 1][c + 1] = in[r][c];
        }
    }
LOAD_W:
    for (int o = 0; o < CO; o++) {
        for (int i = 0; i < K; i++) {
            for (int j = 0; j < K; j++) {
#pragma HLS PIPELINE II=1
                weight[o][i][j] = kernel[o][i][j];
            }
        }
    }
ROW:
    for (int r = 0; r < H; r++) {
    COL:
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=2
            for (int o = 0; o < CO; o++) {
#pragma HLS UNROLL
                int32_t sum = 0;
                for (int i = 0; i < K; i++) {
#pragma HLS UNROLL
                    for (int j = 0; j < K; j++) {
#pragma HLS UNROLL
                        sum += tile[r + i][c + j] * weight[o][i][j];
                    }
                }
                out[o][r][c] = sum;
            }
        }
    }
}
