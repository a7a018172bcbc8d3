#include <ap_fixed.h>
#include <ap_int.h>
#include <cmath>
void rope_pairs_fixed(const ap_fixed<14, 3> x[8], ap_uint<6> position, ap_fixed<14, 3> y[8]) {
    for (int p = 0; p < 4; p++) {
        double angle = (position.to_int() * (1 << p)) % 64 * 6.283185307179586 / 64;
        double even = x[2 * p].to_double(), odd = x[2 * p + 1].to_double();
        y[2 * p] = even * std::cos(angle) - odd * std::sin(angle);
        y[2 * p + 1] = even * std::sin(angle) + odd * std::cos(angle);
    }
}
