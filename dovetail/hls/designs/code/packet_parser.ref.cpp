#include <ap_int.h>
#include <cstdint>
#include <hls_stream.h>
#include <vector>
void packet_parser(hls::stream<ap_uint<16> > &in, hls::stream<ap_uint<20> > &sum, uint8_t &packets) {
    std::vector<unsigned> w;
    while (!in.empty()) w.push_back(in.read().to_uint());
    packets = 0;
    for (size_t i = 0; i < w.size();) {
        size_t n = w[i] % 8 ? w[i] % 8 : 1;
        if (i + n >= w.size()) break;
        unsigned total = 0;
        for (size_t k = 1; k <= n; k++) total += w[i + k];
        sum.write(total);
        packets++;
        i += n + 1;
    }
}
