#include <cstdint>
static int clip(int x, int top) { return x < 0 ? 0 : x > top ? top : x; }
void gaussian_blur(const uint8_t in[5][8], uint8_t out[5][8]) {
    const int row[5] = {1, 4, 6, 4, 1}, column[3] = {1, 2, 1};
    for (int r = 0; r < 5; r++)
        for (int c = 0; c < 8; c++) {
            int sum = 32;
            for (int i = -1; i <= 1; i++)
                for (int j = -2; j <= 2; j++) sum += column[i + 1] * row[j + 2] * in[clip(r + i, 4)][clip(c + j, 7)];
            out[r][c] = (uint8_t)(sum / 64);
        }
}
