#include <hls_math.h>
#include <hls_stream.h>
// silu(gate) * up as a small pipeline of tasks.
static const int N = 24;

static void read_pair(const float *gate, const float *up, hls::stream<float> &g, hls::stream<float> &u) {
READ:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        g.write(gate[i]);
        u.write(up[i]);
    }
}

static void activate(hls::stream<float> &g, hls::stream<float> &s) {
SILU:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        float x = g.read();
        s.write(x / (1.0f + hls::exp(-x)));
    }
}

static void join(hls::stream<float> &s, hls::stream<float> &u, float *out) {
JOIN:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        out[i] = s.read() * u.read();
    }
}

void swiglu(const float gate[N], const float up[N], float out[N]) {
#pragma HLS INTERFACE m_axi port=gate bundle=gmem0
#pragma HLS INTERFACE m_axi port=up bundle=gmem1
#pragma HLS INTERFACE m_axi port=out bundle=gmem2
#pragma HLS DATAFLOW
    hls::stream<float> g("g");
    hls::stream<float> u("u");
    hls::stream<float> s("s");
#pragma HLS STREAM variable=u depth=32
    read_pair(gate, up, g, u);
    activate(g, s);
    join(s, u, out);
}
