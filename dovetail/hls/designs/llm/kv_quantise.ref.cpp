#include <cstdint>
#include <cmath>
void kv_quantise(const float rows[60], int8_t codes[60], float scale[5]) {
    for (int t = 0; t < 5; t++) {
        double peak = 1e-8;
        for (int d = 0; d < 12; d++) peak = std::fmax(peak, std::fabs((double)rows[t * 12 + d]));
        scale[t] = (float)(peak / 127);
        for (int d = 0; d < 12; d++) codes[t * 12 + d] = (int8_t)std::lround(rows[t * 12 + d] / peak * 127);
    }
}
