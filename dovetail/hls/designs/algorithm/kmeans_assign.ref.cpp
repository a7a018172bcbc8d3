#include <cstdint>
void kmeans_assign(const int16_t point[14][2], const int16_t centre[3][2], uint8_t label[14], int16_t moved[3][2]) {
    long sum[3][2] = {}, n[3] = {};
    for (int i = 0; i < 14; i++) {
        double best = 1e18;
        for (int k = 0; k < 3; k++) {
            double dx = point[i][0] - centre[k][0], dy = point[i][1] - centre[k][1];
            if (dx * dx + dy * dy < best) {
                best = dx * dx + dy * dy;
                label[i] = (uint8_t)k;
            }
        }
        n[label[i]]++;
        for (int x = 0; x < 2; x++) sum[label[i]][x] += point[i][x];
    }
    for (int k = 0; k < 3; k++)
        for (int x = 0; x < 2; x++) moved[k][x] = n[k] ? (int16_t)(sum[k][x] / n[k]) : centre[k][x];
}
