#include <cstdint>
#include <cmath>
void moe_router(const float logits[4][8], uint8_t expert[4][2], float weight[4][2]) {
    for (int t = 0; t < 4; t++) {
        int a = 0;
        for (int e = 0; e < 8; e++) if (logits[t][e] > logits[t][a]) a = e;
        int b = a ? 0 : 1;
        for (int e = 0; e < 8; e++) if (e != a && logits[t][e] > logits[t][b]) b = e;
        double x = std::exp((double)logits[t][a]), y = std::exp((double)logits[t][b]);
        expert[t][0] = (uint8_t)a;
        expert[t][1] = (uint8_t)b;
        weight[t][0] = (float)(x / (x + y));
        weight[t][1] = (float)(y / (x + y));
    }
}
