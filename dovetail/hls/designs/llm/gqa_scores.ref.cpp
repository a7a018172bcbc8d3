#include <cstdint>
void gqa_scores(const int8_t q[4][8], const int8_t k[2][6][8], int32_t scores[4][6]) {
    for (int h = 0; h < 4; h++)
        for (int t = 0; t < 6; t++) {
            scores[h][t] = 0;
            for (int d = 0; d < 8; d++) scores[h][t] += q[h][d] * k[h / 2][t][d];
        }
}
