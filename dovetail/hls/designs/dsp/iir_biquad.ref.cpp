#include <ap_fixed.h>
void iir_biquad(const ap_fixed<24, 4> x[16], ap_fixed<24, 4> y[16]) {
    double u[18] = {}, v[18] = {}, w[18] = {};
    for (int n = 0; n < 16; n++) u[n + 2] = x[n].to_double();
    for (int n = 2; n < 18; n++) v[n] = 0.25 * u[n] + 0.5 * u[n - 1] + 0.25 * u[n - 2] + 0.5 * v[n - 1] - 0.25 * v[n - 2];
    for (int n = 2; n < 18; n++) w[n] = 0.5 * v[n] - 0.25 * v[n - 1] + 0.125 * v[n - 2] - 0.375 * w[n - 1] + 0.125 * w[n - 2];
    for (int n = 0; n < 16; n++) y[n] = w[n + 2];
}
