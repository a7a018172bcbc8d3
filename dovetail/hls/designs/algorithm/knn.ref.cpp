#include <cstdint>
#include <algorithm>
#include <utility>
#include <vector>
void knn(const int16_t query[4], const int16_t points[16][4], uint8_t nearest[3]) {
    std::vector<std::pair<long, int>> all;
    for (int n = 0; n < 16; n++) {
        long sum = 0;
        for (int d = 0; d < 4; d++) sum += (long)(points[n][d] - query[d]) * (points[n][d] - query[d]);
        all.push_back({sum, n});
    }
    std::sort(all.begin(), all.end());
    for (int k = 0; k < 3; k++) nearest[k] = (uint8_t)all[k].second;
}
