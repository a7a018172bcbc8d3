#include <cmath>
void layernorm(const float x[24], const float gamma[24], const float beta[24], float y[24]) {
    double mean = 0, var = 0;
    for (int i = 0; i < 24; i++) mean += x[i] / 24.0;
    for (int i = 0; i < 24; i++) var += (x[i] - mean) * (x[i] - mean) / 24.0;
    for (int i = 0; i < 24; i++) y[i] = (float)((x[i] - mean) / std::sqrt(var + 1e-5) * gamma[i] + beta[i]);
}
