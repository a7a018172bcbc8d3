#include <cstdint>
void integral_image(const uint8_t in[48], uint32_t sum[48]) {
    for (int r = 0; r < 6; r++)
        for (int c = 0; c < 8; c++) {
            sum[r * 8 + c] = 0;
            for (int i = 0; i <= r; i++)
                for (int j = 0; j <= c; j++) sum[r * 8 + c] += in[i * 8 + j];
        }
}
