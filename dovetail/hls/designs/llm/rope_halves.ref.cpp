void rope_halves(const float x[3][8], const float cosine[4], const float sine[4], float y[3][8]) {
    for (int h = 0; h < 3; h++)
        for (int i = 0; i < 8; i++) {
            double other = i < 4 ? -(double)x[h][i + 4] : (double)x[h][i - 4];
            y[h][i] = (float)(x[h][i] * (double)cosine[i % 4] + other * sine[i % 4]);
        }
}
