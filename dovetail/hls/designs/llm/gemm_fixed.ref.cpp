#include <ap_fixed.h>
void gemm_fixed(const ap_fixed<16, 4> a[6][12], const ap_fixed<16, 4> b[12][6], ap_fixed<16, 6, AP_RND, AP_SAT> c[6][6]) {
    for (int i = 0; i < 6; i++)
        for (int j = 0; j < 6; j++) {
            double sum = 0;
            for (int k = 0; k < 12; k++) sum += a[i][k].to_double() * b[k][j].to_double();
            if (sum > 31.9990234375) sum = 31.9990234375;
            if (sum < -32) sum = -32;
            c[i][j] = sum;
        }
}
