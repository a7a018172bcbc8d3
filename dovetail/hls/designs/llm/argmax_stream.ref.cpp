#include <ap_int.h>
#include <hls_stream.h>
#include <algorithm>
#include <vector>
void argmax_stream(hls::stream<ap_int<16> > &logits, ap_uint<8> &token, ap_uint<17> &margin) {
    std::vector<int> all;
    while (!logits.empty()) all.push_back(logits.read().to_int());
    token = std::max_element(all.begin(), all.end()) - all.begin();
    std::sort(all.rbegin(), all.rend());
    margin = all[0] - all[1];
}
