#include <cstdint>
// Global alignment score of two short sequences, one row of the table kept.
static const int N = 8, MATCH = 2, MISMATCH = -1, GAP = -2;

void needleman_wunsch(const uint8_t a[N], const uint8_t b[N], int16_t &score) {
#pragma HLS INTERFACE bram port=a
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE ap_vld port=score
    int16_t row[N + 1];
#pragma HLS ARRAY_PARTITION variable=row complete
FIRST:
    for (int j = 0; j <= N; j++) {
#pragma HLS UNROLL
        row[j] = (int16_t)(j * GAP);
    }
ROW:
    for (int i = 0; i < N; i++) {
        int16_t diagonal = row[0];
        row[0] = (int16_t)((i + 1) * GAP);
    COL:
        for (int j = 1; j <= N; j++) {
#pragma HLS PIPELINE II=1
            int16_t match = diagonal + (a[i] == b[j - 1] ? MATCH : MISMATCH);
            int16_t up = row[j] + GAP;
            int16_t left = row[j - 1] + GAP;
            diagonal = row[j];
            int16_t best = match > up ? match : up;
            row[j] = left > best ? left : best;
        }
    }
    score = row[N];
}
