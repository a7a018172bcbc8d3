void lora_apply(const float x[12], const float a[2][12], const float b[10][2], const float base[10], float y[10]) {
    for (int o = 0; o < 10; o++) {
        double sum = 0;
        for (int r = 0; r < 2; r++)
            for (int i = 0; i < 12; i++) sum += (double)b[o][r] * a[r][i] * x[i];
        y[o] = (float)(base[o] + 4.0 * sum);
    }
}
