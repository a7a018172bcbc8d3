#include <vector>
void jacobi(const float u[16], int steps, float result[16]) {
    std::vector<double> now(u, u + 16), next;
    for (int t = 0; t < steps; t++) {
        next = now;
        for (int i = 1; i < 15; i++) next[i] = (now[i - 1] + 2 * now[i] + now[i + 1]) / 4;
        now = next;
    }
    for (int i = 0; i < 16; i++) result[i] = (float)now[i];
}
