#include <cstdint>
#include <algorithm>
void maxpool(const int8_t in[2][6][8], int8_t out[2][3][4]) {
    for (int c = 0; c < 2; c++)
        for (int r = 0; r < 3; r++)
            for (int x = 0; x < 4; x++)
                out[c][r][x] = std::max({in[c][2 * r][2 * x], in[c][2 * r][2 * x + 1], in[c][2 * r + 1][2 * x], in[c][2 * r + 1][2 * x + 1]});
}
