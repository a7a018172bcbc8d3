void stencil3d(const float in[4][4][5], float c0, float c1, float out[4][4][5]) {
    const int d[6][3] = {{1, 0, 0}, {-1, 0, 0}, {0, 1, 0}, {0, -1, 0}, {0, 0, 1}, {0, 0, -1}};
    for (int z = 0; z < 4; z++)
        for (int y = 0; y < 4; y++)
            for (int x = 0; x < 5; x++) {
                bool inner = z % 3 && y % 3 && x % 4;
                double sum = 0;
                for (int k = 0; inner && k < 6; k++) sum += in[z + d[k][0]][y + d[k][1]][x + d[k][2]];
                out[z][y][x] = inner ? (float)((double)c0 * in[z][y][x] + c1 * sum) : in[z][y][x];
            }
}
