#include <cstdint>
// Transpose a matrix in external memory through a tile, so that both sides are bursts.
static const int N = 12, T = 4;

void transpose_blocks(const int32_t in[N * N], int32_t out[N * N]) {
#pragma HLS INTERFACE m_axi port=in bundle=gmem0
#pragma HLS INTERFACE m_axi port=out bundle=gmem1
    int32_t tile[T][T];
#pragma HLS ARRAY_PARTITION variable=tile complete dim=1
TILE_ROW:
    for (int tr = 0; tr < N; tr += T) {
    TILE_COL:
        for (int tc = 0; tc < N; tc += T) {
        READ:
            for (int i = 0; i < T; i++) {
                for (int j = 0; j < T; j++) {
#pragma HLS PIPELINE II=1
                    tile[i][j] = in[(tr + i) * N + tc + j];
                }
            }
        WRITE:
            for (int j = 0; j < T; j++) {
                for (int i = 0; i < T; i++) {
#pragma HLS PIPELINE II=1
                    out[(tc + j) * N + tr + i] = tile[i][j];
                }
            }
        }
    }
}
