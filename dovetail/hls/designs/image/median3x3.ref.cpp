#include <cstdint>
#include <algorithm>
void median3x3(const uint8_t in[6][6], uint8_t out[6][6]) {
    for (int r = 0; r < 6; r++)
        for (int c = 0; c < 6; c++) {
            uint8_t v[9], n = 0;
            for (int i = -1; i <= 1; i++)
                for (int j = -1; j <= 1; j++)
                    if (r > 0 && c > 0 && r < 5 && c < 5) v[n++] = in[r + i][c + j];
            if (n) std::nth_element(v, v + 4, v + 9);
            out[r][c] = n ? v[4] : in[r][c];
        }
}
