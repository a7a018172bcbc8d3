#include <cstdint>
#include <algorithm>
void merge_sort(const int32_t x[16], int32_t y[16]) {
    std::copy(x, x + 16, y);
    std::stable_sort(y, y + 16);
}
