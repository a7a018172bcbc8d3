#include <cstdint>
// Hard-decision Viterbi decoder of the rate 1/2, constraint length 3 code (generators 7, 5).
static const int T = 12, STATES = 4;

void viterbi(const uint8_t symbols[T], uint8_t bits[T]) {
#pragma HLS INTERFACE ap_memory port=symbols
#pragma HLS INTERFACE ap_memory port=bits
    static const uint8_t expected[STATES][2] = {{0, 3}, {3, 0}, {2, 1}, {1, 2}};
    uint16_t metric[2][STATES] = {{0, 100, 100, 100}, {0, 0, 0, 0}};
    uint8_t from[T][STATES];
#pragma HLS ARRAY_PARTITION variable=metric complete dim=0
#pragma HLS ARRAY_PARTITION variable=from complete dim=2
FORWARD:
    for (int t = 0; t < T; t++) {
#pragma HLS PIPELINE II=1
        int now = t & 1;
    STATE:
        for (int s = 0; s < STATES; s++) {
#pragma HLS UNROLL
            int input = s >> 1;
            int p0 = (s << 1) & 3;
            int p1 = p0 | 1;
            uint8_t d0 = symbols[t] ^ expected[p0][input];
            uint8_t d1 = symbols[t] ^ expected[p1][input];
            uint16_t m0 = metric[now][p0] + (d0 & 1) + (d0 >> 1);
            uint16_t m1 = metric[now][p1] + (d1 & 1) + (d1 >> 1);
            metric[1 - now][s] = m1 < m0 ? m1 : m0;
            from[t][s] = m1 < m0 ? p1 : p0;
        }
    }
    int state = 0;
    uint16_t least = metric[T & 1][0];
PICK:
    for (int s = 1; s < STATES; s++) {
#pragma HLS UNROLL
        if (metric[T & 1][s] < least) {
            least = metric[T & 1][s];
            state = s;
        }
    }
BACK:
    for (int t = T - 1; t >= 0; t--) {
#pragma HLS PIPELINE II=1
        bits[t] = state >> 1;
        state = from[t][state];
    }
}
