#include <ap_int.h>
void bit_pack(const ap_uint<3> codes[40], ap_uint<25> words[5]) {
    for (int w = 0; w < 5; w++) {
        unsigned word = 0;
        for (int c = 7; c >= 0; c--) word = word * 8 + codes[w * 8 + c].to_uint();
        if (__builtin_popcount(word) % 2 == 0) word += 1u << 24;
        words[w] = word;
    }
}
