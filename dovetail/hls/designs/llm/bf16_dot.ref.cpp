#include <cstdint>
#include <cmath>
static double value_of(uint16_t bits) {
    int exponent = (bits / 128) % 256;
    double fraction = exponent ? 1.0 + (bits % 128) / 128.0 : (bits % 128) / 128.0;
    return (bits & 0x8000 ? -1 : 1) * std::ldexp(fraction, (exponent ? exponent : 1) - 127);
}
void bf16_dot(const uint16_t a[64], const uint16_t b[64], int count, float out[1]) {
    double sum = 0;
    for (int i = 0; i < count; i++) sum += value_of(a[i]) * value_of(b[i]);
    out[0] = (float)sum;
}
