#include <ap_int.h>
#include <hls_stream.h>
// Greedy decoding: the place of the largest logit of a stream, and its lead over the second.
static const int VOCAB = 40;
typedef ap_int<16> logit_t;
typedef ap_uint<8> token_t;

void argmax_stream(hls::stream<logit_t> &logits, token_t &token, ap_uint<17> &margin) {
#pragma HLS INTERFACE axis port=logits
#pragma HLS INTERFACE ap_vld port=token
#pragma HLS INTERFACE ap_vld port=margin
    logit_t first = -32768;
    logit_t second = -32768;
    token_t place = 0;
SCAN:
    for (int i = 0; i < VOCAB; i++) {
#pragma HLS PIPELINE II=1
        logit_t value = logits.read();
        if (value > first) {
            second = first;
            first = value;
            place = i;
        } else if (value > second) {
            second = value;
        }
    }
    token = place;
    margin = first - second;
}
