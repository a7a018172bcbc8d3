#include <cstdint>
void base64_encode(const uint8_t in[18], char out[24]) {
    const char *alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int g = 0; g < 6; g++) {
        long word = in[3 * g] * 65536L + in[3 * g + 1] * 256L + in[3 * g + 2];
        out[4 * g] = alphabet[word / 262144];
        out[4 * g + 1] = alphabet[word / 4096 % 64];
        out[4 * g + 2] = alphabet[word / 64 % 64];
        out[4 * g + 3] = alphabet[word % 64];
    }
}
