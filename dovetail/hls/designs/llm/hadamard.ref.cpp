#include <cstdint>
void hadamard(const int16_t x[16], int32_t y[16]) {
    for (int i = 0; i < 16; i++) {
        int32_t sum = 0;
        for (int j = 0; j < 16; j++) sum += __builtin_popcount(i & j) % 2 ? -x[j] : x[j];
        y[i] = sum;
    }
}
