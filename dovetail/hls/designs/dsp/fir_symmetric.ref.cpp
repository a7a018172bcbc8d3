#include <ap_fixed.h>
void fir_symmetric(const ap_fixed<16, 1> x[24], ap_fixed<18, 2, AP_RND, AP_SAT> y[24]) {
    const double c[8] = {-0.03125, 0.0625, 0.203125, 0.3125, 0.3125, 0.203125, 0.0625, -0.03125};
    for (int n = 0; n < 24; n++) {
        double sum = 0;
        for (int i = 0; i < 8; i++)
            if (n >= i) sum += c[i] * x[n - i].to_double();
        y[n] = sum;
    }
}
