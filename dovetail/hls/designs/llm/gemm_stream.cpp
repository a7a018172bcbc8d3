#include <cstdint>
#include <hls_stream.h>
// Rows of A against a resident B: read, multiply and write run at the same time over streams.
static const int R = 6, D = 8, P = 5;

static void read_rows(const int16_t *a, hls::stream<int16_t> &rows) {
READ:
    for (int i = 0; i < R * D; i++) {
#pragma HLS PIPELINE II=1
        rows.write(a[i]);
    }
}

static void multiply(hls::stream<int16_t> &rows, const int16_t b[D][P], hls::stream<int32_t> &sums) {
ROW:
    for (int r = 0; r < R; r++) {
        int32_t acc[P];
#pragma HLS ARRAY_PARTITION variable=acc complete
    CLEAR:
        for (int p = 0; p < P; p++) {
#pragma HLS UNROLL
            acc[p] = 0;
        }
    DEPTH:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            int16_t x = rows.read();
            for (int p = 0; p < P; p++) {
#pragma HLS UNROLL
                acc[p] += x * b[d][p];
            }
        }
    EMIT:
        for (int p = 0; p < P; p++) {
#pragma HLS PIPELINE II=1
            sums.write(acc[p]);
        }
    }
}

static void write_rows(hls::stream<int32_t> &sums, int32_t *c) {
WRITE:
    for (int i = 0; i < R * P; i++) {
#pragma HLS PIPELINE II=1
        c[i] = sums.read();
    }
}

void gemm_stream(const int16_t a[R * D], const int16_t b[D][P], int32_t c[R * P]) {
#pragma HLS INTERFACE m_axi port=a bundle=gmem0
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE m_axi port=c bundle=gmem1
#pragma HLS ARRAY_PARTITION variable=b complete dim=2
#pragma HLS DATAFLOW
    hls::stream<int16_t> rows("rows");
    hls::stream<int32_t> sums("sums");
#pragma HLS STREAM variable=rows depth=16
#pragma HLS STREAM variable=sums depth=16
    read_rows(a, rows);
    multiply(rows, b, sums);
    write_rows(sums, c);
}
