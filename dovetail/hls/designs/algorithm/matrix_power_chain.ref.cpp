#include <cstdint>
#include <vector>
void matrix_power_chain(const int8_t a[6][6], const int32_t v[6], int steps, int64_t out[6]) {
    std::vector<int64_t> x(v, v + 6);
    while (steps-- > 0) {
        std::vector<int64_t> y(6, 0);
        for (int i = 0; i < 36; i++) y[i / 6] += a[i / 6][i % 6] * x[i % 6];
        x = y;
    }
    for (int i = 0; i < 6; i++) out[i] = x[i];
}
