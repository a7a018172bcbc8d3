#include <cmath>
void residual_norm(const float x[64], const float update[64], const float gain[16], float sum_out[64],
                   float norm_out[64]) {
    for (int r = 0; r < 4; r++) {
        double power = 0;
        for (int d = 0; d < 16; d++) {
            double s = (double)x[r * 16 + d] + update[r * 16 + d];
            sum_out[r * 16 + d] = (float)s;
            power += s * s;
        }
        for (int d = 0; d < 16; d++)
            norm_out[r * 16 + d] = (float)(((double)x[r * 16 + d] + update[r * 16 + d]) / std::sqrt(power / 16 + 1e-5) * gain[d]);
    }
}
