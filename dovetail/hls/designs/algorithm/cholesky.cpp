#include <hls_math.h>
// Cholesky factor of B B' + 4 I for a small B: build the matrix, then factor it column by column.
static const int N = 4;

void cholesky(const float b[N][N], float l[N][N]) {
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE bram port=l
#pragma HLS ARRAY_PARTITION variable=b complete dim=2
    float a[N][N];
    float low[N][N] = {};
#pragma HLS ARRAY_PARTITION variable=low complete dim=2
BUILD:
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
#pragma HLS PIPELINE II=1
            float sum = i == j ? 4.0f : 0.0f;
            for (int k = 0; k < N; k++) {
#pragma HLS UNROLL
                sum += b[i][k] * b[j][k];
            }
            a[i][j] = sum;
        }
    }
COLUMN:
    for (int j = 0; j < N; j++) {
        float pivot = a[j][j];
        for (int k = 0; k < j; k++) {
#pragma HLS PIPELINE
            pivot -= low[j][k] * low[j][k];
        }
        float root = hls::sqrt(pivot);
        low[j][j] = root;
    BELOW:
        for (int i = j + 1; i < N; i++) {
            float sum = a[i][j];
            for (int k = 0; k < j; k++) {
#pragma HLS PIPELINE
                sum -= low[i][k] * low[j][k];
            }
            low[i][j] = sum / root;
        }
    }
WRITE:
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < N; j++) {
#pragma HLS PIPELINE II=1
            l[i][j] = low[i][j];
        }
    }
}
