#include <cstdint>
void conv2d(const uint8_t in[6][6], const int8_t kernel[2][3][3], int32_t out[2][6][6]) {
    for (int o = 0; o < 2; o++)
        for (int r = 0; r < 6; r++)
            for (int c = 0; c < 6; c++) {
                out[o][r][c] = 0;
                for (int i = -1; i <= 1; i++)
                    for (int j = -1; j <= 1; j++)
                        if (r + i >= 0 && r + i < 6 && c + j >= 0 && c + j < 6)
                            out[o][r][c] += in[r + i][c + j] * kernel[o][i + 1][j + 1];
            }
}
