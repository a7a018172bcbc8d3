#include <cstdint>
// C[M][N] = A[M][K] * B[K][N] in int8, one output tile of T x T at a time, tiles copied in by bursts.
static const int M = 16, K = 16, N = 16, T = 4;

static void load_a(const int8_t *a, int8_t buf[T][K], int row) {
LOAD_A:
    for (int i = 0; i < T; i++) {
        for (int k = 0; k < K; k++) {
#pragma HLS PIPELINE II=1
            buf[i][k] = a[(row + i) * K + k];
        }
    }
}

static void load_b(const int8_t *b, int8_t buf[K][T], int col) {
LOAD_B:
    for (int k = 0; k < K; k++) {
        for (int j = 0; j < T; j++) {
#pragma HLS PIPELINE II=1
            buf[k][j] = b[k * N + col + j];
        }
    }
}

void gemm_tiled(const int8_t a[M * K], const int8_t b[K * N], int32_t c[M * N]) {
#pragma HLS INTERFACE m_axi port=a offset=slave bundle=gmem0
#pragma HLS INTERFACE m_axi port=b offset=slave bundle=gmem1
#pragma HLS INTERFACE m_axi port=c offset=slave bundle=gmem2
    int8_t a_buf[T][K];
    int8_t b_buf[K][T];
    int32_t acc[T][T];
#pragma HLS ARRAY_PARTITION variable=a_buf complete dim=1
#pragma HLS ARRAY_PARTITION variable=b_buf complete dim=2
#pragma HLS ARRAY_PARTITION variable=acc complete dim=0
TILE_ROW:
    for (int row = 0; row < M; row += T) {
        load_a(a, a_buf, row);
    TILE_COL:
        for (int col = 0; col < N; col += T) {
            load_b(b, b_buf, col);
        CLEAR:
            for (int i = 0; i < T; i++) {
#pragma HLS UNROLL
                for (int j = 0; j < T; j++) {
#pragma HLS UNROLL
                    acc[i][j] = 0;
                }
            }
        DEPTH:
            for (int k = 0; k < K; k++) {
#pragma HLS PIPELINE II=1
                for (int i = 0; i < T; i++) {
#pragma HLS UNROLL
                    for (int j = 0; j < T; j++) {
#pragma HLS UNROLL
                        acc[i][j] += a_buf[i][k] * b_buf[k][j];
                    }
                }
            }
        STORE:
            for (int i = 0; i < T; i++) {
                for (int j = 0; j < T; j++) {
#pragma HLS PIPELINE II=1
                    c[(row + i) * N + col + j] = acc[i][j];
                }
            }
        }
    }
}
