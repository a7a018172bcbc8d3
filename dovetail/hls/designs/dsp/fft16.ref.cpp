#include <cmath>
void fft16(const float re[16], const float im[16], float out_re[16], float out_im[16]) {
    for (int k = 0; k < 16; k++) {
        double sr = 0, si = 0;
        for (int n = 0; n < 16; n++) {
            double w = -2 * std::acos(-1.0) * k * n / 16;
            sr += re[n] * std::cos(w) - im[n] * std::sin(w);
            si += re[n] * std::sin(w) + im[n] * std::cos(w);
        }
        out_re[k] = (float)sr;
        out_im[k] = (float)si;
    }
}
