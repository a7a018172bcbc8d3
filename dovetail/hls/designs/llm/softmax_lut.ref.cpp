#include <ap_fixed.h>
#include <cmath>
void softmax_lut(const ap_fixed<12, 4> logits[16], ap_ufixed<16, 1, AP_RND> probs[16]) {
    double peak = -100, total = 0;
    for (int i = 0; i < 16; i++) peak = std::fmax(peak, logits[i].to_double());
    for (int i = 0; i < 16; i++) total += std::exp(logits[i].to_double() - peak);
    for (int i = 0; i < 16; i++) probs[i] = std::exp(logits[i].to_double() - peak) / total;
}
