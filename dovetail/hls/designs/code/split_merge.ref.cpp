#include <ap_int.h>
#include <hls_stream.h>
#include <cmath>
void split_merge(hls::stream<ap_int<16> > &in, hls::stream<ap_int<16> > &out) {
    for (int i = 0; !in.empty(); i++) {
        int v = in.read().to_int();
        if (i % 2)
            out.write((int)std::floor(v / 2.0));
        else
            out.write(v < -1000 ? -1000 : v > 1000 ? 1000 : v);
    }
}
