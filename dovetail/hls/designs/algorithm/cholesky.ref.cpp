#include <cmath>
void cholesky(const float b[4][4], float l[4][4]) {
    double a[4][4], m[4][4] = {};
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
            a[i][j] = i == j ? 4 : 0;
            for (int k = 0; k < 4; k++) a[i][j] += (double)b[i][k] * b[j][k];
        }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j <= i; j++) {
            double s = a[i][j];
            for (int k = 0; k < j; k++) s -= m[i][k] * m[j][k];
            m[i][j] = i == j ? std::sqrt(s) : s / m[j][j];
        }
    for (int i = 0; i < 16; i++) l[i / 4][i % 4] = (float)m[i / 4][i % 4];
}
