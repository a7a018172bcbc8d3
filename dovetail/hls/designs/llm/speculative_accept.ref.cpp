#include <cstdint>
void speculative_accept(const uint16_t draft[8], const uint16_t target[9], int guesses, int &accepted, uint16_t &next) {
    for (accepted = 0; accepted < guesses; accepted++)
        if (draft[accepted] != target[accepted]) break;
    next = target[accepted];
}
