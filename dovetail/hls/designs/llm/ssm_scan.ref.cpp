#include <cmath>
void ssm_scan(const float x[10], const float decay[4], const float b[4], const float c[4], float y[10]) {
    for (int t = 0; t < 10; t++) {
        double sum = 0;
        for (int s = 0; s < 4; s++)
            for (int p = 0; p <= t; p++) sum += c[s] * std::pow((double)decay[s], t - p) * b[s] * x[p];
        y[t] = (float)sum;
    }
}
