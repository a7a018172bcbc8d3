#include <hls_math.h>
// Softened gravity on a few bodies in two dimensions.
static const int N = 5;

void nbody_forces(const float position[N][2], const float mass[N], float force[N][2]) {
#pragma HLS INTERFACE m_axi port=position bundle=gmem0
#pragma HLS INTERFACE m_axi port=mass bundle=gmem1
#pragma HLS INTERFACE m_axi port=force bundle=gmem2
    float x[N], y[N], m[N];
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=2
        x[i] = position[i][0];
        y[i] = position[i][1];
        m[i] = mass[i];
    }
BODY:
    for (int i = 0; i < N; i++) {
        float fx = 0.0f;
        float fy = 0.0f;
    OTHER:
        for (int j = 0; j < N; j++) {
#pragma HLS PIPELINE II=1
            float dx = x[j] - x[i];
            float dy = y[j] - y[i];
            float square = dx * dx + dy * dy + 0.01f;
            float inverse = hls::rsqrt(square);
            float pull = m[j] * inverse * inverse * inverse;
            fx += pull * dx;
            fy += pull * dy;
        }
        force[i][0] = m[i] * fx;
        force[i][1] = m[i] * fy;
    }
}
