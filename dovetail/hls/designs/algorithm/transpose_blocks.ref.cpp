#include <cstdint>
void transpose_blocks(const int32_t in[144], int32_t out[144]) {
    for (int i = 0; i < 144; i++) out[i] = in[i % 12 * 12 + i / 12];
}
