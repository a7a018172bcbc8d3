#include <cstdint>
#include <algorithm>
void needleman_wunsch(const uint8_t a[8], const uint8_t b[8], int16_t &score) {
    int t[9][9];
    for (int i = 0; i <= 8; i++)
        for (int j = 0; j <= 8; j++)
            t[i][j] = i && j ? std::max({t[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 2 : -1), t[i - 1][j] - 2, t[i][j - 1] - 2}) : -2 * (i + j);
    score = (int16_t)t[8][8];
}
