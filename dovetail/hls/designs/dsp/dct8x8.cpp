#include <cstdint>
// Two-dimensional DCT of an 8 x 8 block in integers: rows, a transpose buffer, columns.
static const int B = 8, FRAC = 12;

static void rows_of(const int32_t in[B][B], int32_t out[B][B]) {
    static const int32_t cosine[B][B] = {
        {1448, 1448, 1448, 1448, 1448, 1448, 1448, 1448},     {2009, 1703, 1138, 400, -400, -1138, -1703, -2009},
        {1892, 784, -784, -1892, -1892, -784, 784, 1892},     {1703, -400, -2009, -1138, 1138, 2009, 400, -1703},
        {1448, -1448, -1448, 1448, 1448, -1448, -1448, 1448}, {1138, -2009, 400, 1703, -1703, -400, 2009, -1138},
        {784, -1892, 1892, -784, -784, 1892, -1892, 784},     {400, -1138, 1703, -2009, 2009, -1703, 1138, -400}};
ROW:
    for (int r = 0; r < B; r++) {
    FREQUENCY:
        for (int u = 0; u < B; u++) {
#pragma HLS PIPELINE II=1
            int32_t sum = 1 << (FRAC - 1 - 3);
            for (int x = 0; x < B; x++) {
#pragma HLS UNROLL
                sum += in[r][x] * cosine[u][x];
            }
            out[u][r] = sum >> (FRAC - 3);
        }
    }
}

void dct8x8(const int16_t in[B][B], int16_t out[B][B]) {
#pragma HLS INTERFACE bram port=in
#pragma HLS INTERFACE bram port=out
    int32_t block[B][B];
    int32_t turned[B][B];
    int32_t spectrum[B][B];
#pragma HLS ARRAY_PARTITION variable=block complete dim=2
#pragma HLS ARRAY_PARTITION variable=turned complete dim=2
LOAD:
    for (int i = 0; i < B * B; i++) {
#pragma HLS PIPELINE II=1
        block[i >> 3][i & 7] = in[i >> 3][i & 7];
    }
    rows_of(block, turned);
    rows_of(turned, spectrum);
STORE:
    for (int i = 0; i < B * B; i++) {
#pragma HLS PIPELINE II=1
        int32_t value = (spectrum[i >> 3][i & 7] + 32) >> 6;
        out[i >> 3][i & 7] = (int16_t)value;
    }
}
