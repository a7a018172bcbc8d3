#include <cmath>
void attention_online(const float q[4], const float keys[64], const float values[64], float out[4]) {
    double top[4] = {}, bottom = 0;
    for (int t = 0; t < 16; t++) {
        double dot = 0;
        for (int d = 0; d < 4; d++) dot += (double)q[d] * keys[t * 4 + d];
        double p = std::exp(dot / 2);
        bottom += p;
        for (int d = 0; d < 4; d++) top[d] += p * values[t * 4 + d];
    }
    for (int d = 0; d < 4; d++) out[d] = (float)(top[d] / bottom);
}
