#include <cmath>
void attention_causal(const float q[6][4], const float k[6][4], const float v[6][4], float out[6][4]) {
    for (int i = 0; i < 6; i++)
        for (int d = 0; d < 4; d++) {
            double top = 0, bottom = 0;
            for (int j = 0; j <= i; j++) {
                double dot = 0;
                for (int e = 0; e < 4; e++) dot += (double)q[i][e] * k[j][e];
                top += std::exp(dot / 2) * v[j][d];
                bottom += std::exp(dot / 2);
            }
            out[i][d] = (float)(top / bottom);
        }
}
