// The door of whole passes: new tokens through all layers of a decoder in one call. What a token becomes does not depend
// on how many others are in the call: each product, norm and attention treats rows as if they were alone.
#include <cstring>
#include <memory>
#include <vector>

#include "doors.h"
#include "step.h"
#include "threads.h"

namespace dovetail {
namespace {

// What a layer makes of all tokens; kept by the calling thread, since passes follow each other.
struct Room {
    std::unique_ptr<float[]> memory;
    int64_t size = 0;

    float* reserve(int64_t floats) {
        if (size < floats) {
            size = 0;
            memory.reset(new float[floats]);
            size = floats;
        }
        return memory.get();
    }
};

constexpr int64_t kKept = 1 << 22;  // floats, between calls
thread_local Room room;

struct Step {
    const Decoder& d;
    const Pass& p;
    const Variant& with;
    int threads;
    int64_t rows, mixed;  // tokens of all sequences; floats of a token's queries, keys and values
    float *x, *normed, *qkv, *attended, *pairs, *gated;

    Step(const Decoder& d, const Pass& p, const Variant& with, int threads)
        : d(d), p(p), with(with), threads(threads), rows(p.batch * p.tokens), mixed((d.heads + 2 * d.kv_heads) * d.channels) {
        x = room.reserve(rows * (2 * d.hidden + mixed + d.heads * d.channels + 3 * d.width));
        normed = x + rows * d.hidden;
        qkv = normed + rows * d.hidden;
        attended = qkv + rows * mixed;
        pairs = attended + rows * d.heads * d.channels;
        gated = pairs + rows * 2 * d.width;
    }

    void multiply(const Weights& w, const float* from, float* to) const {
        dovetail::multiply(w, with, from, rows, to, threads);
    }

    void norm(const Norm& by, const float* from, float* to) const {
        for (int64_t r = 0; r < rows; r++) with.norm(from + r * d.hidden, by.weight, float(by.epsilon), d.hidden, to + r * d.hidden);
    }

    void add(const float* more) const {
        for (int64_t i = 0; i < rows * d.hidden; i++) x[i] += more[i];
    }

    // Queries and keys normed, where the model does, and turned by the angles of their positions.
    void turn(const DecoderLayer& layer) const {
        const int64_t n = d.channels;
        for (int64_t r = 0; r < rows; r++) {
            float* heads = qkv + r * mixed;
            for (int64_t h = 0; h < d.heads + d.kv_heads; h++) {
                const Norm& by = h < d.heads ? layer.q : layer.k;
                if (by.weight) with.norm(heads + h * n, by.weight, float(by.epsilon), n, heads + h * n);
            }
            with.turn(heads, d.heads + d.kv_heads, n, p.cosines + p.positions[r] * n, p.sines + p.positions[r] * n);
        }
    }

    void attention(int64_t index) const {
        const Sight& sight = p.sights[d.layer[index].sight];
        const int64_t own = d.heads * d.channels, n = d.channels, sequence = p.tokens * mixed;
        Attending a{};
        a.batch = p.batch, a.heads = d.kv_heads, a.group = d.heads / d.kv_heads, a.tokens = p.tokens, a.channels = n;
        a.bits = p.bits, a.size = p.size, a.share = p.share;
        a.q = qkv, a.k = qkv + own, a.v = qkv + own + d.kv_heads * n;
        for (int64_t* strides : {a.q_strides, a.k_strides, a.v_strides}) strides[0] = sequence, strides[1] = n, strides[2] = mixed;
        a.stretches = p.stretches + index * p.batch * d.kv_heads;
        a.visible = sight.visible, a.visible_stride = sight.visible_stride, a.first = sight.first;
        a.out = attended;
        if (p.paid) a.weights = p.paid[index], a.pitch = p.pitches[index];
        if (p.queries)
            for (int64_t r = 0; r < rows; r++)
                memcpy(p.queries + (index * rows + r) * own, qkv + r * mixed, own * sizeof(float));
        attend(a, with, threads);
    }

    void run() const {
        for (int64_t r = 0; r < rows; r++) memcpy(x + r * d.hidden, d.embedding + p.ids[r] * d.hidden, d.hidden * sizeof(float));
        for (int64_t index = 0; index < d.layers; index++) {
            const DecoderLayer& layer = d.layer[index];
            norm(layer.before, x, normed);
            multiply(layer.qkv, normed, qkv);
            turn(layer);
            attention(index);
            multiply(layer.out, attended, normed);
            add(normed);
            norm(layer.behind, x, normed);
            multiply(layer.pair, normed, pairs);
            gate(with, pairs, rows, d.width, gated, threads);
            multiply(layer.down, gated, normed);
            add(normed);
        }
        norm(d.last, x, p.states);
    }
};

bool within(const int64_t* numbers, int64_t count, int64_t end) {
    for (int64_t i = 0; i < count; i++)
        if (numbers[i] < 0 || numbers[i] >= end) return false;
    return true;
}

}  // namespace
}  // namespace dovetail

using namespace dovetail;

extern "C" {

// As `guarded`; 3 for tokens that the model does not have, 4 for positions without angles.
DOOR int dovetail_step(const Decoder* decoder, const Pass* pass, int variant, int threads) {
    const int64_t rows = pass->batch * pass->tokens;
    if (!within(pass->ids, rows, decoder->vocabulary)) return 3;
    if (!within(pass->positions, rows, pass->angles)) return 4;
    const int failed = guarded([&] { Step(*decoder, *pass, variant_at(variant), threads).run(); });
    if (room.size > kKept) room = Room();
    return failed;
}
}
