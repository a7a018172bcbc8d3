#include <cstdint>
#include <hls_stream.h>
#include <set>
void insertion_stream(hls::stream<int16_t> &in, hls::stream<int16_t> &out) {
    std::multiset<int> all;
    while (!in.empty()) all.insert(in.read());
    for (int x : all) out.write((int16_t)x);
}
