#include <cstdint>
void prefix_sum(const int32_t x[32], int32_t y[32]) {
    int32_t sum = 0;
    for (int i = 0; i < 32; i++) y[i] = sum += x[i];
}
