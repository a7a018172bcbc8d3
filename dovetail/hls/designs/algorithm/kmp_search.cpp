#include <cstdint>
// Knuth-Morris-Pratt: how often a short pattern occurs in a text, overlaps counted.
static const int TEXT = 32, PATTERN = 4;

void kmp_search(const char text[TEXT], const char pattern[PATTERN], int &matches) {
#pragma HLS INTERFACE m_axi port=text bundle=gmem0
#pragma HLS INTERFACE bram port=pattern
#pragma HLS INTERFACE s_axilite port=matches
    int fallback[PATTERN];
#pragma HLS ARRAY_PARTITION variable=fallback complete
    fallback[0] = 0;
    int k = 0;
PREPARE:
    for (int q = 1; q < PATTERN; q++) {
        while (k > 0 && pattern[k] != pattern[q]) {
            k = fallback[k - 1];
        }
        if (pattern[k] == pattern[q]) k++;
        fallback[q] = k;
    }
    int found = 0;
    int state = 0;
SCAN:
    for (int i = 0; i < TEXT; i++) {
#pragma HLS PIPELINE off
        while (state > 0 && pattern[state] != text[i]) {
            state = fallback[state - 1];
        }
        if (pattern[state] == text[i]) state++;
        if (state == PATTERN) {
            found++;
            state = fallback[state - 1];
        }
    }
    matches = found;
}
