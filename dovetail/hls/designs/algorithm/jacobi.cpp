// Jacobi smoothing on a line with fixed ends: two halves of a buffer take turns.
static const int N = 16;

void jacobi(const float u[N], int steps, float result[N]) {
#pragma HLS INTERFACE m_axi port=u bundle=gmem0
#pragma HLS INTERFACE s_axilite port=steps
#pragma HLS INTERFACE m_axi port=result bundle=gmem1
    float grid[2 * N];
#pragma HLS ARRAY_PARTITION variable=grid block factor=2
INIT:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        grid[i] = u[i];
        grid[i + N] = u[i];
    }
SWEEP:
    for (int t = 0; t < steps; t++) {
        int from = (t & 1) ? N : 0;
        int to = N - from;
    POINT:
        for (int i = 1; i < N - 1; i++) {
#pragma HLS PIPELINE II=1
            float left = grid[from + i - 1];
            float right = grid[from + i + 1];
            grid[to + i] = 0.5f * grid[from + i] + 0.25f * (left + right);
        }
    }
    int last = (steps & 1) ? N : 0;
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        result[i] = grid[last + i];
    }
}
