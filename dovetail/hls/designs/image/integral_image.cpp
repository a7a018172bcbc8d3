#include <cstdint>
// Sums of all pixels above and to the left, one row of sums kept on chip.
static const int H = 6, W = 8;

void integral_image(const uint8_t in[H * W], uint32_t sum[H * W]) {
#pragma HLS INTERFACE m_axi port=in bundle=gmem0
#pragma HLS INTERFACE m_axi port=sum bundle=gmem1
    uint32_t above[W];
CLEAR:
    for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
        above[c] = 0;
    }
ROW:
    for (int r = 0; r < H; r++) {
        uint32_t left = 0;
    COL:
        for (int c = 0; c < W; c++) {
#pragma HLS PIPELINE II=1
            left += in[r * W + c];
            uint32_t value = above[c] + left;
            above[c] = value;
            sum[r * W + c] = value;
        }
    }
}
