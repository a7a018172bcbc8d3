#include <cstdint>
// 2 x 2 max pooling of several channels, manually unrolled window.
static const int C = 2, H = 6, W = 8;

void maxpool(const int8_t in[C][H][W], int8_t out[C][H / 2][W / 2]) {
#pragma HLS INTERFACE ap_memory port=in
#pragma HLS INTERFACE ap_memory port=out
#pragma HLS ARRAY_PARTITION variable=in cyclic factor=2 dim=2
#pragma HLS ARRAY_PARTITION variable=in cyclic factor=2 dim=3
CHANNEL:
    for (int c = 0; c < C; c++) {
    ROW:
        for (int r = 0; r < H; r += 2) {
        COL:
            for (int x = 0; x < W; x += 2) {
#pragma HLS PIPELINE II=1
                int8_t best = in[c][r][x];
                if (in[c][r][x + 1] > best) best = in[c][r][x + 1];
                if (in[c][r + 1][x] > best) best = in[c][r + 1][x];
                if (in[c][r + 1][x + 1] > best) best = in[c][r + 1][x + 1];
                out[c][r >> 1][x >> 1] = best;
            }
        }
    }
}
