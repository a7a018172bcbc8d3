#include <cstdint>
#include <vector>
void fir_shift(int16_t x, int32_t &y) {
    static std::vector<int> past(9, 0);
    const int c[9] = {-3, 11, 40, 92, 120, 92, 40, 11, -3};
    past.insert(past.begin(), x);
    int64_t sum = 0;
    for (int i = 0; i < 9; i++) sum += (int64_t)c[i] * past[i];
    y = (int32_t)((sum - ((sum % 16) + 16) % 16) / 16);
}
