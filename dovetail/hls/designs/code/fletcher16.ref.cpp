#include <cstdint>
void fletcher16(const uint8_t data[28], uint16_t &check) {
    int a = 0, b = 0;
    for (int i = 0; i < 28; i++) {
        a = (a + data[i]) % 255;
        b = (b + a) % 255;
    }
    check = (uint16_t)(b * 256 + a);
}
