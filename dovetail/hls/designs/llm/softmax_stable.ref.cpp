#include <cmath>
void softmax_stable(const float in[32], float out[32]) {
    double peak = in[0], total = 0;
    for (int i = 0; i < 32; i++) peak = in[i] > peak ? in[i] : peak;
    for (int i = 0; i < 32; i++) total += std::exp(in[i] - peak);
    for (int i = 0; i < 32; i++) out[i] = (float)(std::exp(in[i] - peak) / total);
}
