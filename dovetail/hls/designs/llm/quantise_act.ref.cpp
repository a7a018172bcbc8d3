#include <cstdint>
#include <cmath>
void quantise_act(const float x[32], int8_t q[32], float &scale) {
    double peak = 1e-6;
    for (int i = 0; i < 32; i++) peak = std::fmax(peak, std::fabs((double)x[i]));
    for (int i = 0; i < 32; i++) q[i] = (int8_t)std::lround(x[i] / peak * 127);
    scale = (float)(peak / 127);
}
