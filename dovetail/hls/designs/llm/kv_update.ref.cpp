#include <cstdint>
void kv_update(int16_t cache[32], const int16_t key[4], int position, int16_t window[32]) {
    int slot = position;
    while (slot >= 8) slot -= 6;
    for (int d = 0; d < 4; d++) cache[slot * 4 + d] = key[d];
    int order[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    if (position >= 8)
        for (int s = 2; s < 8; s++) order[s] = 2 + (slot - 2 + s - 1) % 6;
    for (int s = 0; s < 8; s++)
        for (int d = 0; d < 4; d++) window[s * 4 + d] = cache[order[s] * 4 + d];
}
