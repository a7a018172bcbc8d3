// The door of Medusa heads: what they hold likely after a state, as a tree, without leaving the kernels.
#include <cmath>
#include <cstring>
#include <vector>

#include "doors.h"
#include "step.h"

namespace dovetail {
namespace {

struct Ranked {
    double chance;
    int64_t token;
};

// The likeliest tokens of one head, falling.
void rank(const Variant& with, const float* logits, int64_t count, int64_t ranks, Ranked* out) {
    for (int64_t r = 0; r < ranks; r++) out[r] = {-HUGE_VAL, 0};
    for (int64_t token = 0; token < count; token++) {
        if (!(logits[token] > out[ranks - 1].chance)) continue;
        int64_t place = ranks - 1;
        for (; place > 0 && logits[token] > out[place - 1].chance; place--) out[place] = out[place - 1];
        out[place] = {logits[token], token};
    }
    const float most = float(out[0].chance);
    const double total = with.exponentials(logits, count, most);
    for (int64_t r = 0; r < ranks; r++) out[r].chance = std::exp(out[r].chance - most) / total;
}

struct Waiting {
    double chance;
    int64_t parent, head, rank;

    bool before(const Waiting& other) const {
        if (chance != other.chance) return chance > other.chance;
        if (parent != other.parent) return parent < other.parent;
        return head != other.head ? head < other.head : rank < other.rank;
    }
};

// The likeliest node next: always a child or the next sibling of one that was taken (as likeliest.py has it).
struct Tree {
    const GuessHeads& h;
    const Ranked* ranked;  // [head][rank]
    std::vector<Waiting> waiting;

    const Ranked& at(const Waiting& node) const { return ranked[node.head * h.ranks + node.rank]; }

    Waiting next() {
        size_t best = 0;
        for (size_t i = 1; i < waiting.size(); i++) best = waiting[i].before(waiting[best]) ? i : best;
        const Waiting found = waiting[best];
        waiting[best] = waiting.back();
        waiting.pop_back();
        return found;
    }

    int64_t grow(int64_t nodes, int64_t* parents, int64_t* tokens, double* chances) {
        int64_t made = 0;
        waiting.assign(1, {ranked[0].chance, 0, 0, 0});
        while (!waiting.empty() && made < nodes) {
            const Waiting node = next();
            parents[made] = node.parent, tokens[made] = at(node).token, chances[made] = node.chance;
            made++;
            const double above = node.parent ? chances[node.parent - 1] : 1.0;
            if (node.rank + 1 < h.ranks)
                waiting.push_back({above * ranked[node.head * h.ranks + node.rank + 1].chance, node.parent, node.head, node.rank + 1});
            if (node.head + 1 < h.heads)
                waiting.push_back({node.chance * ranked[(node.head + 1) * h.ranks].chance, made, node.head + 1, 0});
        }
        return made;
    }
};

// What the heads read of one sequence.
void beside(const GuessHeads& h, const float* state, int64_t newest, float* out) {
    const float* token = h.embedding + newest * h.hidden;
    double squares = 0;
    for (int64_t i = 0; i < h.hidden; i++) squares += double(token[i]) * token[i];
    const float scale = float(1.0 / std::sqrt(squares / double(h.hidden) + h.epsilon));
    memcpy(out, state, h.hidden * sizeof(float));
    for (int64_t i = 0; i < h.hidden; i++) out[h.hidden + i] = token[i] * scale;
}

void guess(const GuessHeads& h, const Guesses& g, const Variant& with, int threads) {
    const int64_t all = g.count * h.heads;
    std::vector<float> both(g.count * 2 * h.hidden), turned(all * h.hidden), logits(all * h.vocabulary), ones(2 * h.hidden, 1.0f);
    std::vector<Ranked> ranked(h.heads * h.ranks);
    for (int64_t i = 0; i < g.count; i++) beside(h, g.states + i * h.hidden, g.newest[i], &both[i * 2 * h.hidden]);
    dense(*h.turn, with, both.data(), g.count, turned.data(), threads);
    for (int64_t i = 0; i < all; i++) {
        float* row = &turned[i * h.hidden];
        const float* state = g.states + i / h.heads * h.hidden;
        memcpy(ones.data(), row, h.hidden * sizeof(float));  // silu(row) * 1
        with.gate(ones.data(), h.hidden, row);
        for (int64_t c = 0; c < h.hidden; c++) row[c] += state[c];
    }
    multiply(h.head, with, turned.data(), all, logits.data(), threads);
    for (int64_t i = 0; i < g.count; i++) {
        for (int64_t k = 0; k < h.heads; k++)
            rank(with, &logits[(i * h.heads + k) * h.vocabulary], h.vocabulary, h.ranks, &ranked[k * h.ranks]);
        const int64_t at = i * g.nodes;
        g.made[i] = Tree{h, ranked.data(), {}}.grow(g.nodes, g.parents + at, g.tokens + at, g.chances + at);
    }
}

}  // namespace
}  // namespace dovetail

using namespace dovetail;

extern "C" {

// Returns as `guarded`.
DOOR int dovetail_guess(const GuessHeads* heads, const Guesses* guesses, int variant, int threads) {
    return guarded([&] { guess(*heads, *guesses, variant_at(variant), threads); });
}
}
