// Seven-point stencil in three dimensions.
static const int Z = 4, Y = 4, X = 5;

void stencil3d(const float in[Z][Y][X], float c0, float c1, float out[Z][Y][X]) {
#pragma HLS INTERFACE m_axi port=in bundle=gmem0
#pragma HLS INTERFACE m_axi port=out bundle=gmem1
#pragma HLS INTERFACE s_axilite port=c0
#pragma HLS INTERFACE s_axilite port=c1
    float cube[Z][Y][X];
#pragma HLS ARRAY_PARTITION variable=cube complete dim=3
LOAD:
    for (int z = 0; z < Z; z++) {
        for (int y = 0; y < Y; y++) {
            for (int x = 0; x < X; x++) {
#pragma HLS PIPELINE II=1
                cube[z][y][x] = in[z][y][x];
            }
        }
    }
PLANE:
    for (int z = 0; z < Z; z++) {
    LINE:
        for (int y = 0; y < Y; y++) {
        POINT:
            for (int x = 0; x < X; x++) {
#pragma HLS PIPELINE II=2
                bool edge = z == 0 || z == Z - 1 || y == 0 || y == Y - 1 || x == 0 || x == X - 1;
                float value = cube[z][y][x];
                if (!edge) {
                    float sum = cube[z - 1][y][x] + cube[z + 1][y][x];
                    sum += cube[z][y - 1][x] + cube[z][y + 1][x];
                    sum += cube[z][y][x - 1] + cube[z][y][x + 1];
                    value = c0 * cube[z][y][x] + c1 * sum;
                }
                out[z][y][x] = value;
            }
        }
    }
}
