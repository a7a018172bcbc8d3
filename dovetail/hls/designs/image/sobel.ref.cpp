#include <cstdint>
#include <cstdlib>
void sobel(const uint8_t image[80], uint8_t edges[80]) {
    auto at = [&](int r, int c) { return r < 8 ? (int)image[r * 10 + c] : 0; };
    for (int r = 0; r < 8; r++)
        for (int c = 0; c < 10; c++) {
            edges[r * 10 + c] = 0;
            if (r < 1 || c < 2) continue;
            int gx = 0, gy = 0;
            for (int k = -1; k <= 1; k++) {
                int w = k ? 1 : 2;
                gx += w * (at(r + k, c) - at(r + k, c - 2));
                gy += w * (at(r + 1, c - 1 + k) - at(r - 1, c - 1 + k));
            }
            int size = std::abs(gx) + std::abs(gy);
            edges[r * 10 + c] = (uint8_t)(size > 255 ? 255 : size);
        }
}
