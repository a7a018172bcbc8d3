// Rotary embedding in the layout that pairs element i with element i + HEAD / 2, for several heads.
static const int HEADS = 3, HEAD = 8, HALF = HEAD / 2;

void rope_halves(const float x[HEADS][HEAD], const float cosine[HALF], const float sine[HALF], float y[HEADS][HEAD]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=cosine
#pragma HLS INTERFACE bram port=sine
#pragma HLS INTERFACE bram port=y
#pragma HLS ARRAY_PARTITION variable=x block factor=2 dim=2
#pragma HLS ARRAY_PARTITION variable=y block factor=2 dim=2
    float turn_c[HALF];
    float turn_s[HALF];
TABLE:
    for (int i = 0; i < HALF; i++) {
#pragma HLS PIPELINE II=1
        turn_c[i] = cosine[i];
        turn_s[i] = sine[i];
    }
HEAD_LOOP:
    for (int h = 0; h < HEADS; h++) {
    PAIR:
        for (int i = 0; i < HALF; i++) {
#pragma HLS PIPELINE II=1
            float x_lo = x[h][i];
            float x_hi = x[h][i + HALF];
            y[h][i] = x_lo * turn_c[i] - x_hi * turn_s[i];
            y[h][i + HALF] = x_lo * turn_s[i] + x_hi * turn_c[i];
        }
    }
}
