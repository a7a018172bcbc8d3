// A diagonal state space: h = decay * h + b * x, y = c . h, one step of time after the other.
static const int T = 10, S = 4;

void ssm_scan(const float x[T], const float decay[S], const float b[S], const float c[S], float y[T]) {
#pragma HLS INTERFACE ap_fifo port=x
#pragma HLS INTERFACE bram port=decay
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE bram port=c
#pragma HLS INTERFACE ap_fifo port=y
#pragma HLS ARRAY_PARTITION variable=decay complete
#pragma HLS ARRAY_PARTITION variable=b complete
#pragma HLS ARRAY_PARTITION variable=c complete
    float h[S];
#pragma HLS ARRAY_PARTITION variable=h complete
    for (int s = 0; s < S; s++) {
#pragma HLS UNROLL
        h[s] = 0.0f;
    }
TIME:
    for (int t = 0; t < T; t++) {
#pragma HLS PIPELINE II=8
        float u = x[t];
        float sum = 0.0f;
    STATE:
        for (int s = 0; s < S; s++) {
#pragma HLS UNROLL
            h[s] = decay[s] * h[s] + b[s] * u;
            sum += c[s] * h[s];
        }
        y[t] = sum;
    }
}
