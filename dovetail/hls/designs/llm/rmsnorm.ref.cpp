#include <cmath>
void rmsnorm(const float x[32], const float weight[32], float y[32]) {
    double sum = 0;
    for (int i = 0; i < 32; i++) sum += (double)x[i] * x[i];
    for (int i = 0; i < 32; i++) y[i] = (float)(x[i] / std::sqrt(sum / 32 + 1e-6) * weight[i]);
}
