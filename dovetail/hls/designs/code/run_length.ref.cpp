#include <cstdint>
#include <hls_stream.h>
#include <vector>
void run_length(hls::stream<uint8_t> &in, hls::stream<uint16_t> &out, int &runs) {
    std::vector<int> all;
    while (!in.empty()) all.push_back(in.read());
    runs = 0;
    for (size_t i = 0; i < all.size();) {
        size_t j = i;
        while (j < all.size() && all[j] == all[i] && j - i < 15) j++;
        out.write((uint16_t)(all[i] * 256 + (j - i)));
        runs++;
        i = j;
    }
}
