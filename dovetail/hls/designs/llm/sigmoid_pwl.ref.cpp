#include <ap_fixed.h>
#include <cmath>
void sigmoid_pwl(const ap_fixed<16, 5> x[16], ap_ufixed<16, 1, AP_RND, AP_SAT> y[16]) {
    for (int i = 0; i < 16; i++) y[i] = 1.0 / (1.0 + std::exp(-x[i].to_double()));
}
