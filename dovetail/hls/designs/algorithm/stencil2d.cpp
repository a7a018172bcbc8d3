#include <cstdint>
// Five-point stencil over the inside of a grid, the border passed through.
static const int H = 7, W = 9;

void stencil2d(const int32_t in[H][W], int32_t out[H][W]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=out
#pragma HLS ARRAY_PARTITION variable=in cyclic factor=3 dim=1
TOP_BOTTOM:
    for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
        out[0][c] = in[0][c];
        out[H - 1][c] = in[H - 1][c];
    }
ROW:
    for (int r = 1; r < H - 1; r++) {
        out[r][0] = in[r][0];
        out[r][W - 1] = in[r][W - 1];
    COL:
        for (int c = 1; c < W - 1; c++) {
#pragma HLS PIPELINE II=2
            int32_t cross = in[r - 1][c] + in[r + 1][c] + in[r][c - 1] + in[r][c + 1];
            out[r][c] = 4 * in[r][c] - cross;
        }
    }
}
