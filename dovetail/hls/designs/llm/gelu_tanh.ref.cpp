#include <cmath>
void gelu_tanh(const float x[20], float y[20]) {
    for (int i = 0; i < 20; i++) {
        double v = x[i];
        y[i] = (float)(0.5 * v * (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (v + 0.044715 * v * v * v))));
    }
}
