#include <cstdint>
#include <algorithm>
void bitonic_sort(const int16_t x[16], int16_t y[16]) {
    std::copy(x, x + 16, y);
    std::sort(y, y + 16);
}
