#include <ap_int.h>
#include <cmath>
#include <vector>
void moving_average(ap_int<14> x, ap_int<14> &mean) {
    static std::vector<int> all(8, 0);
    all.push_back(x.to_int());
    double sum = 0;
    for (int i = 0; i < 8; i++) sum += all[all.size() - 1 - i];
    mean = (int)std::floor(sum / 8);
}
