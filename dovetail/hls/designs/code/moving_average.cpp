#include <ap_int.h>
// The mean of the last eight samples, one call a sample, with a running sum.
static const int N = 8;

void moving_average(ap_int<14> x, ap_int<14> &mean) {
#pragma HLS INTERFACE ap_none port=x
#pragma HLS INTERFACE ap_vld port=mean
#pragma HLS PIPELINE II=1
    static ap_int<14> ring[N] = {};
    static ap_uint<3> head = 0;
    static ap_int<17> sum = 0;
    sum += x - ring[head];
    ring[head] = x;
    head++;
    mean = sum >> 3;
}
