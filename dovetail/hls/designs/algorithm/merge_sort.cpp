#include <cstdint>
// Bottom-up merge sort between two memories, one element written a cycle.
static const int N = 16;

static void merge_pass(const int32_t from[N], int32_t to[N], int width) {
    int left = 0;
    int right = width;
    int left_end = width;
    int right_end = 2 * width;
MERGE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        bool take_left = right >= right_end;
        if (left < left_end && right < right_end) take_left = from[left] <= from[right];
        if (take_left) {
            to[i] = from[left];
            left++;
        } else {
            to[i] = from[right];
            right++;
        }
        if (i == right_end - 1) {
            left = right_end;
            right = right_end + width;
            left_end = right_end + width;
            right_end += 2 * width;
        }
    }
}

void merge_sort(const int32_t x[N], int32_t y[N]) {
#pragma HLS INTERFACE m_axi port=x bundle=gmem0
#pragma HLS INTERFACE m_axi port=y bundle=gmem1
    int32_t buf[5][N];
#pragma HLS ARRAY_PARTITION variable=buf complete dim=1
LOAD:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        buf[0][i] = x[i];
    }
    merge_pass(buf[0], buf[1], 1);
    merge_pass(buf[1], buf[2], 2);
    merge_pass(buf[2], buf[3], 4);
    merge_pass(buf[3], buf[4], 8);
STORE:
    for (int i = 0; i < N; i++) {
#pragma HLS PIPELINE II=1
        y[i] = buf[4][i];
    }
}
