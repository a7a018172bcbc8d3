#include <cstdint>
// The Ethernet CRC, a byte a step, eight bits unrolled.
static const int MAX = 32;

void crc32(const uint8_t data[MAX], int length, uint32_t &crc) {
#pragma HLS INTERFACE m_axi port=data bundle=gmem0
#pragma HLS INTERFACE s_axilite port=length
#pragma HLS INTERFACE s_axilite port=crc
    uint32_t state = 0xFFFFFFFFu;
BYTE:
    for (int i = 0; i < length; i++) {
#pragma HLS PIPELINE II=1
#pragma HLS LOOP_TRIPCOUNT min=1 max=32
        state ^= data[i];
    BIT:
        for (int b = 0; b < 8; b++) {
#pragma HLS UNROLL
            uint32_t mask = (state & 1u) ? 0xEDB88320u : 0u;
            state = (state >> 1) ^ mask;
        }
    }
    crc = ~state;
}
