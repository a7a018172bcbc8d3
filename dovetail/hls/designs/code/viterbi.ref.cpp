#include <cstdint>
void viterbi(const uint8_t symbols[12], uint8_t bits[12]) {
    int cost[13][4], from[13][4];
    for (int s = 0; s < 4; s++) cost[0][s] = s ? 100 : 0;
    for (int t = 1; t <= 12; t++)
        for (int s = 0; s < 4; s++) {
            cost[t][s] = 10000;
            for (int p = 0; p < 4; p++) {
                if ((p >> 1) != (s & 1)) continue;
                int in = s >> 1, b1 = p >> 1, b0 = p & 1;
                int code = (in ^ b1 ^ b0) * 2 + (in ^ b0);
                int c = cost[t - 1][p] + __builtin_popcount(code ^ symbols[t - 1]);
                if (c < cost[t][s]) {
                    cost[t][s] = c;
                    from[t][s] = p;
                }
            }
        }
    int s = 0;
    for (int k = 1; k < 4; k++) if (cost[12][k] < cost[12][s]) s = k;
    for (int t = 12; t > 0; t--) {
        bits[t - 1] = (uint8_t)(s >> 1);
        s = from[t][s];
    }
}
