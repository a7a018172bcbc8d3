#include <cstdint>
#include <cmath>
void dct8x8(const int16_t in[8][8], int16_t out[8][8]) {
    const double pi = std::acos(-1.0);
    for (int v = 0; v < 8; v++)
        for (int u = 0; u < 8; u++) {
            double sum = 0;
            for (int y = 0; y < 8; y++)
                for (int x = 0; x < 8; x++) sum += in[y][x] * std::cos((2 * x + 1) * u * pi / 16) * std::cos((2 * y + 1) * v * pi / 16);
            out[v][u] = (int16_t)std::lround(sum / 4 * (u ? 1 : std::sqrt(0.5)) * (v ? 1 : std::sqrt(0.5)));
        }
}
