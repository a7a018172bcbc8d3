#include <ap_fixed.h>
typedef ap_fixed<16, 5> d;
typedef ap_fixed<16, 3> w;
void mlp_relu(const d x[8], const w w1[12][8], const w b1[12], const w w2[4][12], d y[4]) {
    double h[12];
    for (int j = 0; j < 12; j++) {
        h[j] = b1[j].to_double();
        for (int i = 0; i < 8; i++) h[j] += x[i].to_double() * w1[j][i].to_double();
        if (h[j] < 0) h[j] = 0;
    }
    for (int o = 0; o < 4; o++) {
        double sum = 0;
        for (int j = 0; j < 12; j++) sum += h[j] * w2[o][j].to_double();
        y[o] = sum;
    }
}
