#include <cstdint>
#include <hls_stream.h>
// Separable 1-4-6-4-1 blur of each row, then a 1-2-1 blur of the columns; edges are repeated.
static const int H = 5, W = 8;

static void blur_rows(const uint8_t in[H][W], hls::stream<uint16_t> &mid) {
ROW:
    for (int r = 0; r < H; r++) {
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            int far_left = c < 2 ? 0 : c - 2;
            int left = c < 1 ? 0 : c - 1;
            int right = c > W - 2 ? W - 1 : c + 1;
            int far_right = c > W - 3 ? W - 1 : c + 2;
            uint16_t sum = in[r][far_left] + 4 * in[r][left] + 6 * in[r][c] + 4 * in[r][right] + in[r][far_right];
            mid.write(sum);
        }
    }
}

static void blur_columns(hls::stream<uint16_t> &mid, uint8_t out[H][W]) {
    uint16_t above[W], here[W];
FIRST:
    for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
        uint16_t value = mid.read();
        above[c] = value;
        here[c] = value;
    }
ROW:
    for (int r = 0; r < H; r++) {
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            uint16_t below = r < H - 1 ? mid.read() : here[c];
            uint32_t sum = above[c] + 2 * here[c] + below;
            out[r][c] = (uint8_t)((sum + 32) >> 6);
            above[c] = here[c];
            here[c] = below;
        }
    }
}

void gaussian_blur(const uint8_t in[H][W], uint8_t out[H][W]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=out
#pragma HLS ARRAY_PARTITION variable=in complete dim=2
#pragma HLS DATAFLOW
    hls::stream<uint16_t> mid("mid");
#pragma HLS STREAM variable=mid depth=16
    blur_rows(in, mid);
    blur_columns(mid, out);
}
