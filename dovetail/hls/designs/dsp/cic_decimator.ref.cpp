#include <cstdint>
#include <hls_stream.h>
#include <vector>
void cic_decimator(hls::stream<int16_t> &in, hls::stream<int32_t> &out) {
    std::vector<long> x, h = {1};
    while (!in.empty()) x.push_back(in.read());
    for (int s = 0; s < 3; s++) {
        std::vector<long> wider(h.size() + 3, 0);
        for (size_t i = 0; i < h.size(); i++)
            for (int r = 0; r < 4; r++) wider[i + r] += h[i];
        h = wider;
    }
    for (size_t n = 3; n < x.size(); n += 4) {
        long sum = 0;
        for (size_t i = 0; i < h.size() && i <= n; i++) sum += h[i] * x[n - i];
        out.write((int32_t)sum);
    }
}
