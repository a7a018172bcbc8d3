#include <cstdint>
void hist_equalise(const uint8_t in[48], uint8_t out[48]) {
    for (int i = 0; i < 48; i++) {
        int below = 0;
        for (int j = 0; j < 48; j++) below += in[j] <= in[i];
        out[i] = (uint8_t)(below * 15 / 48);
    }
}
