#include <cstdint>
void topk(const int16_t score[24], int16_t best[5], uint8_t index[5]) {
    bool used[24] = {};
    for (int k = 0; k < 5; k++) {
        int at = -1;
        for (int i = 0; i < 24; i++)
            if (!used[i] && (at < 0 || score[i] > score[at])) at = i;
        used[at] = true;
        best[k] = score[at];
        index[k] = (uint8_t)at;
    }
}
