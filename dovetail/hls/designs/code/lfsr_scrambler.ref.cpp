#include <ap_int.h>
#include <hls_stream.h>
#include <vector>
void lfsr_scrambler(hls::stream<ap_uint<8> > &in, ap_uint<7> seed, hls::stream<ap_uint<8> > &out) {
    std::vector<int> bits;
    for (int i = 6; i >= 0; i--) bits.push_back(seed.to_int() >> i & 1);
    while (!in.empty()) {
        int mask = 0;
        for (int b = 0; b < 8; b++) {
            bits.push_back(bits[bits.size() - 7] ^ bits[bits.size() - 4]);
            mask += bits.back() << b;
        }
        out.write(in.read().to_int() ^ mask);
    }
}
