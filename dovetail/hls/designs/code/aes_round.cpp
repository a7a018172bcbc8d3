#include <cstdint>
// ShiftRows, MixColumns and AddRoundKey of one AES round on a column-major state.
static uint8_t doubled(uint8_t x) {
#pragma HLS INLINE
    uint8_t high = x >> 7;
    return (uint8_t)((x << 1) ^ (high * 0x1B));
}

void aes_round(const uint8_t state[16], const uint8_t key[16], uint8_t out[16]) {
#pragma HLS INTERFACE ap_memory port=state
#pragma HLS INTERFACE ap_memory port=key
#pragma HLS INTERFACE ap_memory port=out
#pragma HLS ARRAY_PARTITION variable=state complete
#pragma HLS ARRAY_PARTITION variable=key cyclic factor=4
#pragma HLS ARRAY_PARTITION variable=out cyclic factor=4
COLUMN:
    for (int c = 0; c < 4; c++) {
#pragma HLS PIPELINE II=1
        uint8_t a0 = state[4 * c];
        uint8_t a1 = state[4 * ((c + 1) & 3) + 1];
        uint8_t a2 = state[4 * ((c + 2) & 3) + 2];
        uint8_t a3 = state[4 * ((c + 3) & 3) + 3];
        uint8_t all = a0 ^ a1 ^ a2 ^ a3;
        out[4 * c] = a0 ^ all ^ doubled(a0 ^ a1) ^ key[4 * c];
        out[4 * c + 1] = a1 ^ all ^ doubled(a1 ^ a2) ^ key[4 * c + 1];
        out[4 * c + 2] = a2 ^ all ^ doubled(a2 ^ a3) ^ key[4 * c + 2];
        out[4 * c + 3] = a3 ^ all ^ doubled(a3 ^ a0) ^ key[4 * c + 3];
    }
}
