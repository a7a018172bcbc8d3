void conv1d_causal(const float x[24], const float taps[3][4], float y[24]) {
    for (int t = 0; t < 8; t++)
        for (int c = 0; c < 3; c++) {
            double sum = 0;
            for (int k = 0; k < 4; k++)
                if (t >= k) sum += (double)taps[c][k] * x[(t - k) * 3 + c];
            y[t * 3 + c] = (float)sum;
        }
}
