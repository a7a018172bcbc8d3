// y = base + alpha / rank * B (A x): a low-rank adapter on top of a finished product.
static const int IN = 12, OUT = 10, RANK = 2;

void lora_apply(const float x[IN], const float a[RANK][IN], const float b[OUT][RANK], const float base[OUT], float y[OUT]) {
#pragma HLS INTERFACE bram port=x
#pragma HLS INTERFACE bram port=a
#pragma HLS INTERFACE bram port=b
#pragma HLS INTERFACE m_axi port=base bundle=gmem0
#pragma HLS INTERFACE m_axi port=y bundle=gmem1
#pragma HLS ARRAY_PARTITION variable=a complete dim=1
#pragma HLS ARRAY_PARTITION variable=b complete dim=2
    float inner[RANK];
#pragma HLS ARRAY_PARTITION variable=inner complete
    const float scaling = 8.0f / RANK;
CLEAR:
    for (int r = 0; r < RANK; r++) {
#pragma HLS UNROLL
        inner[r] = 0.0f;
    }
DOWN:
    for (int i = 0; i < IN; i++) {
#pragma HLS PIPELINE II=4
        for (int r = 0; r < RANK; r++) {
#pragma HLS UNROLL
            inner[r] += a[r][i] * x[i];
        }
    }
UP:
    for (int o = 0; o < OUT; o++) {
#pragma HLS PIPELINE II=1
        float sum = 0.0f;
        for (int r = 0; r < RANK; r++) {
#pragma HLS UNROLL
            sum += b[o][r] * inner[r];
        }
        y[o] = base[o] + scaling * sum;
    }
}
