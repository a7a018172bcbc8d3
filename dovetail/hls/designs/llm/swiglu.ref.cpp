#include <cmath>
void swiglu(const float gate[24], const float up[24], float out[24]) {
    for (int i = 0; i < 24; i++) out[i] = (float)(gate[i] / (1.0 + std::exp(-(double)gate[i])) * up[i]);
}
