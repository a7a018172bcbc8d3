#include <cstdint>
void stencil2d(const int32_t in[7][9], int32_t out[7][9]) {
    for (int i = 0; i < 63; i++) {
        int r = i / 9, c = i % 9;
        bool edge = r == 0 || r == 6 || c == 0 || c == 8;
        out[r][c] = edge ? in[r][c] : 4 * in[r][c] - in[r - 1][c] - in[r + 1][c] - in[r][c - 1] - in[r][c + 1];
    }
}
