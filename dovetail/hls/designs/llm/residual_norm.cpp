#include <hls_math.h>
#include <hls_stream.h>
// Residual add, then RMS norm, as a dataflow region with a ping-pong row between the two.
static const int ROWS = 4, D = 16;

static void add(const float *x, const float *update, float *sum_out, hls::stream<float> &sums) {
ADD:
    for (int i = 0; i < ROWS * D; i++) {
#pragma HLS PIPELINE II=1
        float s = x[i] + update[i];
        sum_out[i] = s;
        sums.write(s);
    }
}

static void normalise(hls::stream<float> &sums, const float *gain, hls::stream<float> &normed) {
    float row[2][D];
    float power[2] = {0.0f, 0.0f};
#pragma HLS ARRAY_PARTITION variable=row complete dim=1
ROW:
    for (int r = 0; r <= ROWS; r++) {
        int ping = r & 1;
        power[ping] = 0.0f;
        float scale = r > 0 ? hls::rsqrt(power[1 - ping] / D + 1e-5f) : 0.0f;
    ELEMENT:
        for (int d = 0; d < D; d++) {
#pragma HLS PIPELINE II=1
            if (r < ROWS) {
                float value = sums.read();
                row[ping][d] = value;
                power[ping] += value * value;
            }
            if (r > 0) normed.write(row[1 - ping][d] * scale * gain[d]);
        }
    }
}

static void store(hls::stream<float> &normed, float *norm_out) {
STORE:
    for (int i = 0; i < ROWS * D; i++) {
#pragma HLS PIPELINE II=1
        norm_out[i] = normed.read();
    }
}

void residual_norm(const float x[ROWS * D], const float update[ROWS * D], const float gain[D], float sum_out[ROWS * D],
                   float norm_out[ROWS * D]) {
#pragma HLS INTERFACE m_axi port=x bundle=gmem0
#pragma HLS INTERFACE m_axi port=update bundle=gmem1
#pragma HLS INTERFACE bram port=gain
#pragma HLS INTERFACE m_axi port=sum_out bundle=gmem2
#pragma HLS INTERFACE m_axi port=norm_out bundle=gmem3
#pragma HLS DATAFLOW
    hls::stream<float> sums("sums");
    hls::stream<float> normed("normed");
#pragma HLS STREAM variable=sums depth=32
#pragma HLS STREAM variable=normed depth=32
    add(x, update, sum_out, sums);
    normalise(sums, gain, normed);
    store(normed, norm_out);
}
