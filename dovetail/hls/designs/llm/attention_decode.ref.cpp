#include <cmath>
void attention_decode(const float q[8], const float k_cache[128], const float v_cache[128], int length, float out[8]) {
    double weight[16], total = 0;
    for (int t = 0; t < length; t++) {
        double dot = 0;
        for (int d = 0; d < 8; d++) dot += (double)q[d] * k_cache[t * 8 + d];
        total += weight[t] = std::exp(dot / std::sqrt(8.0));
    }
    for (int d = 0; d < 8; d++) {
        double sum = 0;
        for (int t = 0; t < length; t++) sum += weight[t] * v_cache[t * 8 + d];
        out[d] = (float)(sum / total);
    }
}
