#include <cstdint>
// Sobel edges with two line buffers and a 3 x 3 window; the border is black.
static const int H = 8, W = 10;

void sobel(const uint8_t image[H * W], uint8_t edges[H * W]) {
#pragma HLS INTERFACE ap_fifo port=image
#pragma HLS INTERFACE ap_fifo port=edges
    uint8_t line[2][W];
    uint8_t window[3][3];
#pragma HLS ARRAY_PARTITION variable=line complete dim=1
#pragma HLS ARRAY_PARTITION variable=window complete dim=0
ZERO_LINES:
    for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
        line[0][c] = 0;
        line[1][c] = 0;
    }
ZERO_WINDOW:
    for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
        for (int j = 0; j < 3; j++) {
#pragma HLS UNROLL
            window[i][j] = 0;
        }
    }
ROW:
    for (int r = 0; r < H + 1; r++) {
    COL:
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            uint8_t pixel = r < H ? image[r * W + c] : (uint8_t)0;
            for (int i = 0; i < 3; i++) {
#pragma HLS UNROLL
                window[i][0] = window[i][1];
                window[i][1] = window[i][2];
            }
            window[0][2] = line[0][c];
            window[1][2] = line[1][c];
            window[2][2] = pixel;
            line[0][c] = line[1][c];
            line[1][c] = pixel;
            int gx = (window[0][2] + 2 * window[1][2] + window[2][2]) - (window[0][0] + 2 * window[1][0] + window[2][0]);
            int gy = (window[2][0] + 2 * window[2][1] + window[2][2]) - (window[0][0] + 2 * window[0][1] + window[0][2]);
            int size = (gx < 0 ? -gx : gx) + (gy < 0 ? -gy : gy);
            if (size > 255) size = 255;
            bool inside = r >= 2 && c >= 2;
            if (r >= 1) edges[(r - 1) * W + c] = inside ? (uint8_t)size : (uint8_t)0;
        }
    }
}
