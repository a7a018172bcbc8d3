#include <ap_fixed.h>
#include <ap_int.h>
// Rotary embedding of neighbouring pairs with angles from a quarter-wave table of 64 steps a turn.
static const int PAIRS = 4, QUARTER = 16;
typedef ap_fixed<14, 3> act_t;
typedef ap_fixed<14, 2> turn_t;

static turn_t sine_of(ap_uint<6> angle) {
#pragma HLS INLINE
    static const turn_t quarter[QUARTER + 1] = {0,        0.098017, 0.19509,  0.290285, 0.382683, 0.471397,
                                                0.55557,  0.634393, 0.707107, 0.77301,  0.83147,  0.881921,
                                                0.92388,  0.95694,  0.980785, 0.995185, 1.0};
    ap_uint<2> part = angle >> 4;
    ap_uint<5> index = angle & 0xF;
    turn_t value = (part & 1) ? quarter[QUARTER - index] : quarter[index];
    return (part & 2) ? turn_t(-value) : value;
}

void rope_pairs_fixed(const act_t x[2 * PAIRS], ap_uint<6> position, act_t y[2 * PAIRS]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE ap_none port=position
#pragma HLS INTERFACE bram port=y
PAIR:
    for (int p = 0; p < PAIRS; p++) {
#pragma HLS PIPELINE II=1
        ap_uint<6> angle = position << p;
        turn_t s = sine_of(angle);
        turn_t c = sine_of(angle + QUARTER);
        act_t even = x[2 * p];
        act_t odd = x[2 * p + 1];
        y[2 * p] = even * c - odd * s;
        y[2 * p + 1] = even * s + odd * c;
    }
}
