// Attention of a few new tokens to what a KV head holds, compiled once for each instruction set.
//
// All query heads of a group and all new tokens go together, so that each key and value is read once, a block at a
// time: scores, then what softmax makes of them so far, then the weighted values (the order of arXiv 2205.14135).

#include "lanes.h"
#include "variant.h"

namespace dovetail {
namespace {

// Keys and values come block after block, alternately: while keys are read the values of their tokens are asked for,
// and while values are the keys of the next block, `ahead` bytes from them.
inline void ask(const void* from, int64_t ahead) { __builtin_prefetch((const char*)from + ahead, 0, 2); }
inline int64_t bytes_to(const float* from, const float* to) { return to ? (const char*)to - (const char*)from : 0; }

// Sixteen channels of a token, or of 4 bits sixteen of each half of them; `at` counts such steps.
template <int bits> constexpr int kParts = bits == 4 ? 2 : 1;
template <int bits> using Stored = std::conditional_t<bits == 32, float, uint8_t>;

template <int bits> inline void floats_of(const Stored<bits>* token, int64_t at, Floats* out) {
    if constexpr (bits == 32) {
        out[0] = load(token + at * kRows);
    } else {
        const Ints codes = widen(token + at * kRows);
        out[0] = floats(bits == 4 ? low(codes) : codes);
        if constexpr (bits == 4) out[1] = floats(high(codes));
    }
}

// scores [query][pitch] of `rows` tokens: sums along the channels stay in registers, a vector each.
template <int bits, int rows, int queries>
inline void score_part(const Stored<bits>* tokens, int64_t stride, int64_t channels, const float* query, const float* zeros,
                       float* scores, int64_t pitch, int64_t ahead) {
    static_assert(rows * queries <= kSums);
    constexpr int parts = kParts<bits>;
    Floats sum[kSums];
    UNROLL for (int i = 0; i < kSums; i++) sum[i] = splat(0.0f);
    const int64_t steps = channels / (kRows * parts);
    for (int64_t at = 0; at < steps; at++) {
        Floats asked[queries * parts];
        UNROLL for (int q = 0; q < queries; q++)
            UNROLL for (int p = 0; p < parts; p++) asked[q * parts + p] = load(query + q * channels + p * (channels / 2) + at * kRows);
        UNROLL for (int r = 0; r < rows; r++) {
            Floats key[parts];
            if constexpr (bits == 32) ask(tokens + r * stride + at * kRows, ahead);
            floats_of<bits>(tokens + r * stride, at, key);
            UNROLL for (int q = 0; q < queries; q++)
                UNROLL for (int p = 0; p < parts; p++) sum[q * rows + r] = fused(key[p], asked[q * parts + p], sum[q * rows + r]);
        }
    }
    float out[kSums];
    totals(sum, out);
    if (!zeros && (bits != 32 || steps * kRows == channels)) {
        for (int q = 0; q < queries; q++) memcpy(scores + q * pitch, out + q * rows, rows * sizeof(float));
        return;
    }
    for (int q = 0; q < queries; q++)
        for (int r = 0; r < rows; r++) {
            float all = out[q * rows + r] + (zeros ? zeros[q] : 0.0f);
            if constexpr (bits == 32)
                for (int64_t c = steps * kRows; c < channels; c++) all += query[q * channels + c] * tokens[r * stride + c];
            scores[q * pitch + r] = all;
        }
}

template <int bits, int queries>
inline void score(const Stored<bits>* tokens, int64_t stride, int64_t count, int64_t channels, const float* query,
                  const float* zeros, float* scores, int64_t pitch, int64_t ahead = 0) {
    constexpr int rows = kSums / queries;
    int64_t t = 0;
    for (; t + rows <= count; t += rows) score_part<bits, rows, queries>(tokens + t * stride, stride, channels, query, zeros, scores + t, pitch, ahead);
    for (; t < count; t++) score_part<bits, 1, queries>(tokens + t * stride, stride, channels, query, zeros, scores + t, pitch, ahead);
}

// out [query][channels] += weights [query][pitch] times values [count][channels], `steps` steps of them from `at` on.
// Of codes, weights are [vector of 16 channels][query][kKeys], in the order of steps.
template <int bits, int queries, int steps>
inline void weigh_part(const float* weights, int64_t pitch, const Stored<bits>* values, int64_t stride, int64_t count,
                       int64_t channels, int64_t at, float* out, int64_t ahead) {
    constexpr int parts = kParts<bits>, vectors = steps * parts;
    Floats sum[queries * vectors];
    UNROLL for (int q = 0; q < queries; q++)
        UNROLL for (int i = 0; i < vectors; i++)
            sum[q * vectors + i] = load(out + q * channels + i % parts * (channels / 2) + (at + i / parts) * kRows);
    if constexpr (bits != 32) weights += at * parts * queries * kKeys;
    for (int64_t t = 0; t < count; t++, values += stride) {
        Floats value[vectors];
        UNROLL for (int i = 0; i < steps; i++) {
            if constexpr (bits == 32) ask(values + (at + i) * kRows, ahead);
            floats_of<bits>(values, at + i, value + i * parts);
        }
        UNROLL for (int q = 0; q < queries; q++)
            UNROLL for (int i = 0; i < vectors; i++) {
                const float* weight = bits == 32 ? weights + q * pitch : weights + (i * queries + q) * kKeys;
                sum[q * vectors + i] = fused(splat(weight[t]), value[i], sum[q * vectors + i]);
            }
    }
    UNROLL for (int q = 0; q < queries; q++)
        UNROLL for (int i = 0; i < vectors; i++)
            store(out + q * channels + i % parts * (channels / 2) + (at + i / parts) * kRows, sum[q * vectors + i]);
}

constexpr int kVectors = kSums == 16 ? 4 : 2, kQueries = kSums / kVectors;

template <int bits, int queries>
inline void weigh(const float* weights, int64_t pitch, const Stored<bits>* values, int64_t stride, int64_t count,
                  int64_t channels, float* out, int64_t ahead = 0) {
    constexpr int parts = kParts<bits>, most = kVectors / parts;
    const int64_t steps = channels / (kRows * parts);
    int64_t at = 0;
    for (; at + most <= steps; at += most) weigh_part<bits, queries, most>(weights, pitch, values, stride, count, channels, at, out, ahead);
    for (; at < steps; at++) weigh_part<bits, queries, 1>(weights, pitch, values, stride, count, channels, at, out, ahead);
    if constexpr (bits == 32)
        for (int q = 0; q < queries && steps * kRows < channels; q++)
            for (int64_t t = 0; t < count; t++)
                for (int64_t c = steps * kRows; c < channels; c++) out[q * channels + c] += weights[q * pitch + t] * values[t * stride + c];
}

template <int queries> struct Queries { static constexpr int count = queries; };

// work(Queries<some>, first) for all of `count` queries, as many at once as there are registers for.
template <class Do> inline void by_queries(int64_t count, const Do& work) {
    int64_t r = 0;
    for (; r + kQueries <= count; r += kQueries) work(Queries<kQueries>{}, r);
    if constexpr (kQueries == 4) {
        if (count - r == 3) return work(Queries<3>{}, r);
        if (count - r == 2) return work(Queries<2>{}, r);
    }
    if (count > r) work(Queries<1>{}, r);
}

inline float largest(const float* row, int64_t count, float most) {
    Floats lanes = splat(most);
    int64_t t = 0;
    for (; t + kRows <= count; t += kRows) lanes = larger(lanes, load(row + t));
    float lane[kRows];
    store(lane, lanes);
    for (; t < count; t++) most = row[t] > most ? row[t] : most;
    for (int i = 0; i < kRows; i++) most = lane[i] > most ? lane[i] : most;
    return most;
}

inline float total_of(Floats lanes) {
    float lane[kRows], sum = 0;
    store(lane, lanes);
    for (int i = 0; i < kRows; i++) sum += lane[i];
    return sum;
}

inline float total_of(const float* row, int64_t count) {
    Floats lanes = splat(0.0f);
    int64_t t = 0;
    for (; t + kRows <= count; t += kRows) lanes = lanes + load(row + t);
    float sum = total_of(lanes);
    for (; t < count; t++) sum += row[t];
    return sum;
}

// The state of softmax for all queries, and one block more of keys and values.
struct Rows {
    int64_t count, channels;
    float *queries, *out, *scores, *most, *total;

    // Scores of a block become what each token weighs; sums so far shrink where a larger score came.
    void weighted(int64_t tokens) const {
        for (int64_t r = 0; r < count; r++) {
            float* row = scores + r * tokens;
            const float peak = largest(row, tokens, most[r]);
            if (peak > most[r]) {
                const float shrink = exponential(most[r] - peak);
                DOVETAIL_VARIANT::scale(out + r * channels, channels, shrink, out + r * channels);
                total[r] *= shrink, most[r] = peak;
            }
            DOVETAIL_VARIANT::exponentiate(row, tokens, peak, kLeast);
            total[r] += total_of(row, tokens);
        }
    }

    void score(const float* keys, int64_t tokens, int64_t ahead) const {
        by_queries(count, [&](auto some, int64_t r) {
            dovetail::score<32, some.count>(keys, channels, tokens, channels, queries + r * channels, nullptr, scores + r * tokens, tokens, ahead);
        });
    }

    void add(const float* values, int64_t tokens, int64_t ahead) const {
        weighted(tokens);
        by_queries(count, [&](auto some, int64_t r) {
            weigh<32, some.count>(scores + r * tokens, tokens, values, channels, tokens, channels, out + r * channels, ahead);
        });
    }

    static constexpr float kLeast = -1e37f;  // below it nothing is seen
    static constexpr float kHidden = -3e38f;
};

// One packed group, its codes as they are. A score is the query times the scales of the channels, times the codes, and
// the query times the zeros; a value's scale multiplies what its token weighs.
struct Coded {
    const Attending& a;
    const Rows& rows;
    float* scratch;  // `unpacked_floats`


    // A few queries: with more, unpacking once is less work.
    static bool takes(const Attending& a) {
        const int64_t step = kRows * (a.bits == 4 ? 2 : 1);
        const bool whole = a.channels % step == 0 && a.bits && a.channels / a.shares() % kRows == 0;
        return whole && a.size <= kKeys && a.group * a.tokens <= 2 * kQueries;
    }

    template <int bits> void score(const uint8_t* group, int64_t begin, int64_t pitch) const {
        const int64_t n = a.channels, bytes = a.code_bytes();
        float *scale = scratch, *zero = scale + n, *query = zero + n;
        DOVETAIL_VARIANT::halves(group + a.size * bytes, 2 * n, scale);
        by_queries(rows.count, [&](auto some, int64_t r) {
            float zeros[kQueries];
            for (int q = 0; q < some.count; q++) {
                const float* from = rows.queries + (r + q) * n;
                Floats sum = splat(0.0f);
                for (int64_t c = 0; c < n; c += kRows) {
                    const Floats asked = load(from + c);
                    store(query + q * n + c, asked * load(scale + c));
                    sum = fused(asked, load(zero + c), sum);
                }
                zeros[q] = total_of(sum);
            }
            dovetail::score<bits, some.count>(group, bytes, a.size, n, query, zeros, rows.scores + r * pitch + begin, pitch);
        });
    }

    template <int bits> void add(const uint8_t* group, int64_t begin, int64_t pitch) const {
        constexpr int parts = kParts<bits>;
        const int64_t n = a.channels, bytes = a.code_bytes(), shares = a.shares(), size = a.size, share = n / shares;
        const uint8_t *codes = group + size * bytes + 4 * n, *own = codes + size * bytes;
        float *weights = scratch, *scales = weights + n / kRows * kQueries * kKeys, *columns = scales + 2 * shares * size;
        DOVETAIL_VARIANT::halves(own, 2 * shares * size, scales);
        for (int64_t i = 0; i < 2 * shares; i++)
            for (int64_t t = 0; t < size; t++) columns[i * size + t] = scales[t * 2 * shares + i];
        by_queries(rows.count, [&](auto some, int64_t r) {
            for (int q = 0; q < some.count; q++) {
                const float* paid = rows.scores + (r + q) * pitch + begin;
                float* out = rows.out + (r + q) * n;
                for (int64_t s = 0; s < shares; s++) {
                    const Floats zero = splat(product_of(paid, columns + (shares + s) * size, size));
                    for (int64_t c = s * share; c < (s + 1) * share; c += kRows) store(out + c, load(out + c) + zero);
                }
                for (int64_t v = 0; v < n / kRows; v++) {
                    const int64_t c = v % parts * (n / 2) + v / parts * kRows;
                    scaled(paid, columns + c / share * size, size, weights + (v * some.count + q) * kKeys);
                }
            }
            weigh<bits, some.count>(weights, 0, codes, bytes, size, n, rows.out + r * n);
        });
    }

    static float product_of(const float* x, const float* y, int64_t count) {
        Floats lanes = splat(0.0f);
        int64_t t = 0;
        for (; t + kRows <= count; t += kRows) lanes = fused(load(x + t), load(y + t), lanes);
        float sum = total_of(lanes);
        for (; t < count; t++) sum += x[t] * y[t];
        return sum;
    }

    static void scaled(const float* x, const float* scale, int64_t count, float* out) {
        int64_t t = 0;
        for (; t + kRows <= count; t += kRows) store(out + t, load(x + t) * load(scale + t));
        for (; t < count; t++) out[t] = x[t] * scale[t];
    }
};

struct Head {
    const Attending& a;
    const Stretch& own;
    int64_t sequence, head;
    Rows rows;
    float *keys, *values, *every;  // of a packed group; all scores
    const float* following;        // keys of the head after this one, or null

    // Which of the columns [begin, begin + tokens) each new token sees; `old` tokens are before the new ones.
    void hide(int64_t begin, int64_t tokens, int64_t old) {
        if (begin + tokens <= old && !a.first) return;
        for (int64_t r = 0; r < rows.count; r++) {
            const int64_t token = r % a.tokens, first = a.first ? a.first[sequence * a.tokens + token] : 0;
            const uint8_t* seen = a.visible ? a.visible + sequence * a.visible_stride + token * a.tokens : nullptr;
            for (int64_t t = 0; t < tokens; t++) {
                const int64_t fresh = begin + t - old;
                const bool shown = fresh < 0 ? begin + t >= first : seen ? seen[fresh] != 0 : fresh <= token;
                if (!shown) rows.scores[r * tokens + t] = Rows::kHidden;
            }
        }
    }

    // `next`: keys that are read after these, or null.
    void block(const float* k, const float* v, int64_t begin, int64_t tokens, int64_t old, const float* next) {
        rows.score(k, tokens, bytes_to(k, v));
        scored(begin, tokens, old);
        rows.add(v, tokens, bytes_to(v, next));
    }

    // Some packed groups as one block, without unpacking them.
    template <int bits> void groups(const uint8_t* from, int64_t first, int64_t count, int64_t old) {
        const int64_t tokens = count * a.size, bytes = a.group_bytes();
        const Coded coded{a, rows, keys};
        for (int64_t g = 0; g < count; g++) {
            for (int64_t line = 0; line < bytes; line += kStep) __builtin_prefetch(from + (count + g) * bytes + line, 0, 2);
            coded.score<bits>(from + g * bytes, g * a.size, tokens);
        }
        scored(first * a.size, tokens, old);
        rows.weighted(tokens);
        for (int64_t g = 0; g < count; g++) coded.add<bits>(from + g * bytes, g * a.size, tokens);
    }

    void scored(int64_t begin, int64_t tokens, int64_t old) {
        hide(begin, tokens, old);
        if (every)
            for (int64_t r = 0; r < rows.count; r++)
                memcpy(every + r * a.pitch + begin, rows.scores + r * tokens, tokens * sizeof(float));
    }

    // The blocks that begin in columns [from, to).
    void columns(int64_t from, int64_t to) {
        const int64_t packed = own.groups * a.size, old = packed + own.held, whole = own.held + a.tokens;
        int64_t least = old;  // blocks that nothing sees are left out
        for (int64_t t = 0; t < a.tokens; t++) {
            const int64_t first = a.first ? a.first[sequence * a.tokens + t] : 0;
            least = first < least ? first : least;
        }
        const bool coded = Coded::takes(a);
        const int64_t together = coded && a.size < kKeys ? kKeys / a.size : 1;  // groups of a block
        const int64_t end = (to + a.size - 1) / (a.size ? a.size : 1), groups_end = end < own.groups ? end : own.groups;
        for (int64_t g = a.size ? (from + a.size - 1) / a.size : 0; g < groups_end; g += together) {
            const int64_t some = together < groups_end - g ? together : groups_end - g;
            const uint8_t* group = own.packed + g * a.group_bytes();
            if (!coded) {
                DOVETAIL_VARIANT::unpack_group(a, group, keys, values);
                block(keys, values, g * a.size, a.size, old, nullptr);
            } else if (a.bits == 4) {
                groups<4>(group, g, some, old);
            } else {
                groups<8>(group, g, some, old);
            }
        }
        const int64_t skipped = from > packed ? (from - packed + kKeys - 1) / kKeys * kKeys : 0;
        for (int64_t t = skipped; t < whole && packed + t < to; t += kKeys) {
            const int64_t count = whole - t < kKeys ? whole - t : kKeys;
            if (packed + t + count <= least && !every) continue;
            const bool last = t + kKeys >= whole || packed + t + kKeys >= to;
            block(own.keys + t * a.channels, own.values + t * a.channels, packed + t, count, old,
                  last ? following : own.keys + (t + kKeys) * a.channels);
        }
    }
};

}  // namespace

void DOVETAIL_VARIANT::attend(const Attending& a, const Piece& piece, float* scratch) {
    const int64_t n = a.channels, count = a.group * a.tokens, block = a.size > kKeys ? a.size : kKeys;
    const int64_t sequence = piece.sequence, head = piece.head;
    const Stretch& own = a.stretches[sequence * a.heads + head];
    float* queries = scratch;
    float* out = queries + count * n;
    float* scores = out + count * n;
    float* most = scores + count * block;
    float* total = most + count;
    float* rest = total + count;
    float* every = a.weights ? rest + unpacked_floats(a) : nullptr;
    const float scale = 1.0f / __builtin_sqrtf(float(n));
    for (int64_t r = 0; r < count; r++) {
        const float* q = a.q + sequence * a.q_strides[0] + (head * a.group + r / a.tokens) * a.q_strides[1] + r % a.tokens * a.q_strides[2];
        DOVETAIL_VARIANT::scale(q, n, scale, queries + r * n);
        memset(out + r * n, 0, n * sizeof(float));
        most[r] = Rows::kLeast, total[r] = 0;
    }
    Head one{a, own, sequence, head, {count, n, queries, out, scores, most, total}, rest, rest + a.size * n, every,
             &own + 1 < a.stretches + a.batch * a.heads ? (&own)[1].keys : nullptr};
    one.columns(piece.begin, piece.end);
    if (piece.to) {
        memcpy(piece.to, out, count * n * sizeof(float));
        memcpy(piece.to + count * n, most, 2 * count * sizeof(float));
        return;
    }
    for (int64_t r = 0; r < count; r++) {
        const int64_t token = r % a.tokens, at = head * a.group + r / a.tokens;
        float* to = a.out + ((sequence * a.tokens + token) * a.heads * a.group + at) * n;
        DOVETAIL_VARIANT::scale(out + r * n, n, 1.0f / total[r], to);
    }
    if (!every) return;
    const int64_t columns = own.groups * a.size + own.held + a.tokens;
    for (int64_t t = 0; t < a.tokens; t++) {
        float* to = a.weights + ((sequence * a.heads + head) * a.tokens + t) * a.pitch;
        for (int64_t c = 0; c < columns; c++) to[c] = 0;
        for (int64_t g = 0; g < a.group; g++) {
            const int64_t r = g * a.tokens + t;
            float* from = every + r * a.pitch;
            DOVETAIL_VARIANT::exponentiate(from, columns, most[r], Rows::kLeast);
            for (int64_t c = 0; c < columns; c++) to[c] += from[c] / total[r];
        }
    }
}

}  // namespace dovetail
