#include <cstdint>
void autocorrelation(const int16_t x[20], int64_t r[5]) {
    for (int l = 0; l < 5; l++) {
        r[l] = 0;
        for (int n = l; n < 20; n++) r[l] += (int64_t)x[n] * x[n - l];
    }
}
