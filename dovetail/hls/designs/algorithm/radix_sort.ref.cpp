#include <cstdint>
#include <algorithm>
void radix_sort(const uint16_t x[20], uint16_t y[20]) {
    std::copy(x, x + 20, y);
    std::sort(y, y + 20);
}
