#include <cmath>
void nbody_forces(const float position[5][2], const float mass[5], float force[5][2]) {
    for (int i = 0; i < 5; i++)
        for (int d = 0; d < 2; d++) {
            double sum = 0;
            for (int j = 0; j < 5; j++) {
                double dx = (double)position[j][0] - position[i][0], dy = (double)position[j][1] - position[i][1];
                sum += mass[j] * ((double)position[j][d] - position[i][d]) / std::pow(dx * dx + dy * dy + 0.01, 1.5);
            }
            force[i][d] = (float)(mass[i] * sum);
        }
}
