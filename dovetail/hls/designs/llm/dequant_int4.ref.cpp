#include <ap_int.h>
void dequant_int4(const ap_uint<32> packed[8], const float scale[8], float out[64]) {
    for (int i = 0; i < 64; i++) {
        unsigned word = packed[i / 8].to_uint();
        int code = (word >> (i % 8 * 4)) % 16;
        out[i] = (float)((code > 7 ? code - 16 : code) * (double)scale[i / 8]);
    }
}
