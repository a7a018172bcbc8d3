#include <ap_fixed.h>
#include <cmath>
void cordic(ap_fixed<22, 3> angle, ap_fixed<22, 3> &cosine, ap_fixed<22, 3> &sine) {
    cosine = std::cos(angle.to_double());
    sine = std::sin(angle.to_double());
}
