#include <cstdint>
#include <cmath>
void embedding(const int8_t table[256], const uint8_t token[4], float out[64]) {
    for (int i = 0; i < 64; i++) out[i] = (float)(table[token[i / 16] * 16 + i % 16] * std::sqrt(16.0));
}
