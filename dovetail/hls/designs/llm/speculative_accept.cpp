#include <cstdint>
// The longest prefix of guessed tokens that the large model would have written too, and the token after it.
static const int MAX_GUESS = 8;

void speculative_accept(const uint16_t draft[MAX_GUESS], const uint16_t target[MAX_GUESS + 1], int guesses,
                        int &accepted, uint16_t &next) {
#pragma HLS INTERFACE bram port=draft
#pragma HLS INTERFACE bram port=target
#pragma HLS INTERFACE s_axilite port=guesses
#pragma HLS INTERFACE ap_vld port=accepted
#pragma HLS INTERFACE ap_vld port=next
    int length = 0;
    bool going = true;
VERIFY:
    while (going && length < guesses) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=8
        if (draft[length] == target[length]) {
            length++;
        } else {
            going = false;
        }
    }
    accepted = length;
    next = target[length];
}
