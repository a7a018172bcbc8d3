#include <cstdint>
void repetition_penalty(const float logits[32], const uint8_t history[12], int count, float penalty, float out[32]) {
    for (int v = 0; v < 32; v++) {
        bool seen = false;
        for (int i = 0; i < count; i++) seen = seen || history[i] == v;
        double x = logits[v];
        out[v] = (float)(!seen ? x : x > 0 ? x / penalty : x * penalty);
    }
}
