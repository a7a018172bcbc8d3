#include <ap_fixed.h>
// Sine and cosine by sixteen CORDIC rotations: shifts and adds only.
static const int STEPS = 16;
typedef ap_fixed<22, 3> angle_t;
typedef ap_fixed<22, 3> value_t;

void cordic(angle_t angle, value_t &cosine, value_t &sine) {
#pragma HLS INTERFACE ap_none port=angle
#pragma HLS INTERFACE ap_vld port=cosine
#pragma HLS INTERFACE ap_vld port=sine
#pragma HLS PIPELINE II=1
    static const angle_t atan_table[STEPS] = {0.785398,  0.463648,  0.244979,  0.124355,  0.0624188, 0.0312398,
                                              0.0156237, 0.0078123, 0.0039062, 0.0019531, 0.0009766, 0.0004883,
                                              0.0002441, 0.0001221, 0.000061,  0.0000305};
    value_t x = 0.607252935;
    value_t y = 0;
    angle_t z = angle;
ROTATE:
    for (int i = 0; i < STEPS; i++) {
#pragma HLS UNROLL
        value_t dx = y >> i;
        value_t dy = x >> i;
        if (z >= 0) {
            x -= dx;
            y += dy;
            z -= atan_table[i];
        } else {
            x += dx;
            y -= dy;
            z += atan_table[i];
        }
    }
    cosine = x;
    sine = y;
}
