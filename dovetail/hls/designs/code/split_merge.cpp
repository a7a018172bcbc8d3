#include <ap_int.h>
#include <hls_stream.h>
// Even and odd samples take two paths of different work and are merged in order.
static const int N = 16;
typedef ap_int<16> word_t;

static void split(hls::stream<word_t> &in, hls::stream<word_t> &lane_a, hls::stream<word_t> &lane_b) {
SPLIT:
    for (int i = 0; i < N; i += 2) {
#pragma HLS PIPELINE II=2
        lane_a.write(in.read());
        lane_b.write(in.read());
    }
}

static void clamp_lane(hls::stream<word_t> &from, hls::stream<word_t> &to) {
CLAMP:
    for (int i = 0; i < N / 2; i++) {
#pragma HLS PIPELINE II=1
        word_t v = from.read();
        word_t low = v < -1000 ? word_t(-1000) : v;
        to.write(low > 1000 ? word_t(1000) : low);
    }
}

static void halve_lane(hls::stream<word_t> &from, hls::stream<word_t> &to) {
HALVE:
    for (int i = 0; i < N / 2; i++) {
#pragma HLS PIPELINE II=1
        word_t v = from.read();
        to.write(v >> 1);
    }
}

static void merge(hls::stream<word_t> &done_a, hls::stream<word_t> &done_b, hls::stream<word_t> &out) {
MERGE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        if (i & 1) {
            out.write(done_b.read());
        } else {
            out.write(done_a.read());
        }
    }
}

void split_merge(hls::stream<word_t> &in, hls::stream<word_t> &out) {
#pragma HLS INTERFACE axis port=in
#pragma HLS INTERFACE axis port=out
#pragma HLS DATAFLOW
    hls::stream<word_t> lane_a("lane_a"), lane_b("lane_b");
    hls::stream<word_t> done_a("done_a"), done_b("done_b");
#pragma HLS STREAM variable=lane_a depth=8
#pragma HLS STREAM variable=lane_b depth=8
#pragma HLS STREAM variable=done_a depth=8
#pragma HLS STREAM variable=done_b depth=8
    split(in, lane_a, lane_b);
    clamp_lane(lane_a, done_a);
    halve_lane(lane_b, done_b);
    merge(done_a, done_b, out);
}
