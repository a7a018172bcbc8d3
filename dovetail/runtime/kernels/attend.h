// Attention of a few new tokens to what a KV head holds, compiled with `tiles.cpp` for each instruction set.
//
// All query heads of a group and all new tokens go together, so that each key and value is read once, a block at a
// time: scores, then what softmax makes of them so far, then the weighted values (the order of arXiv 2205.14135).

inline float half(const uint8_t* from) {  // bf16
    uint16_t top;
    memcpy(&top, from, 2);
    const uint32_t bits = uint32_t(top) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

// Codes of one token to floats [channels]; `scale` and `zero` of each channel.
inline void unpack(const uint8_t* codes, int64_t channels, int64_t bits, const float* scale, const float* zero, float* out) {
    if (bits == 8) {
        for (int64_t c = 0; c < channels; c++) out[c] = float(codes[c]) * scale[c] + zero[c];
        return;
    }
    const int64_t second = channels / 2;
    for (int64_t c = 0; c < second; c++) out[c] = float(codes[c] & 15) * scale[c] + zero[c];
    for (int64_t c = 0; c < second; c++) out[second + c] = float(codes[c] >> 4) * scale[second + c] + zero[second + c];
}

// Scales and zeros as floats, each `times` over: they lie one after the other, all scales first.
inline void spread(const uint8_t* from, int64_t count, int64_t times, float* scale, float* zero) {
    for (int64_t i = 0; i < count; i++) {
        const float s = half(from + 2 * i), z = half(from + 2 * (count + i));
        for (int64_t j = 0; j < times; j++) scale[i * times + j] = s, zero[i * times + j] = z;
    }
}

constexpr int64_t kChannels = 512;  // of a head at most

// One packed group to floats: keys and values [size][channels].
inline void unpack_group(const Attending& a, const uint8_t* from, float* keys, float* values) {
    float scale[kChannels], zero[kChannels];
    const int64_t n = a.channels, bytes = a.code_bytes(), shares = a.shares();
    const uint8_t* scales = from + a.size * bytes;
    spread(scales, n, 1, scale, zero);
    for (int64_t t = 0; t < a.size; t++) unpack(from + t * bytes, n, a.bits, scale, zero, keys + t * n);
    const uint8_t* codes = scales + 4 * n;
    const uint8_t* own = codes + a.size * bytes;
    for (int64_t t = 0; t < a.size; t++, own += 4 * shares) {
        spread(own, shares, n / shares, scale, zero);
        unpack(codes + t * bytes, n, a.bits, scale, zero, values + t * n);
    }
}

// out [queries][channels] += weights [queries][count] times values [count][channels].
template <int queries, int vectors>
inline void weigh_part(const float* weights, int64_t pitch, const float* values, int64_t count, int64_t channels, float* out) {
    Floats sum[queries * vectors];
    UNROLL for (int q = 0; q < queries; q++)
        UNROLL for (int i = 0; i < vectors; i++) sum[q * vectors + i] = load(out + q * channels + i * kRows);
    for (int64_t t = 0; t < count; t++, values += channels) {
        Floats value[vectors];
        UNROLL for (int i = 0; i < vectors; i++) value[i] = load(values + i * kRows);
        UNROLL for (int q = 0; q < queries; q++) {
            const Floats weight = splat(weights[q * pitch + t]);
            UNROLL for (int i = 0; i < vectors; i++) sum[q * vectors + i] = fused(weight, value[i], sum[q * vectors + i]);
        }
    }
    UNROLL for (int q = 0; q < queries; q++)
        UNROLL for (int i = 0; i < vectors; i++) store(out + q * channels + i * kRows, sum[q * vectors + i]);
}

constexpr int kVectors = kSums == 16 ? 4 : 2, kQueries = kSums / kVectors;

template <int queries>
inline void weigh(const float* weights, int64_t pitch, const float* values, int64_t count, int64_t channels, float* out) {
    int64_t at = 0;
    for (; at + kVectors * kRows <= channels; at += kVectors * kRows)
        weigh_part<queries, kVectors>(weights, pitch, values + at, count, channels, out + at);
    for (; at + kRows <= channels; at += kRows) weigh_part<queries, 1>(weights, pitch, values + at, count, channels, out + at);
    for (int q = 0; q < queries && at < channels; q++)
        for (int64_t t = 0; t < count; t++)
            for (int64_t c = at; c < channels; c++) out[q * channels + c] += weights[q * pitch + t] * values[t * channels + c];
}

// The state of softmax for all queries, and one block more of keys and values.
struct Rows {
    int64_t count, channels;
    float *queries, *out, *scores, *most, *total;

    void add(const float* values, int64_t tokens) {
        for (int64_t r = 0; r < count; r++) {
            float* row = scores + r * tokens;
            float peak = most[r];
            for (int64_t t = 0; t < tokens; t++) peak = row[t] > peak ? row[t] : peak;
            if (peak > most[r]) {
                const float shrink = exponential(most[r] - peak);
                for (int64_t c = 0; c < channels; c++) out[r * channels + c] *= shrink;
                total[r] *= shrink, most[r] = peak;
            }
            float sum = 0;
            for (int64_t t = 0; t < tokens; t++) row[t] = row[t] < kLeast ? 0.0f : exponential(row[t] - peak);
            for (int64_t t = 0; t < tokens; t++) sum += row[t];
            total[r] += sum;
        }
        int64_t r = 0;
        for (; r + kQueries <= count; r += kQueries) weigh<kQueries>(scores + r * tokens, tokens, values, tokens, channels, out + r * channels);
        if constexpr (kQueries == 4) {
            if (count - r == 3) return weigh<3>(scores + r * tokens, tokens, values, tokens, channels, out + r * channels);
            if (count - r == 2) return weigh<2>(scores + r * tokens, tokens, values, tokens, channels, out + r * channels);
        }
        if (count > r) weigh<1>(scores + r * tokens, tokens, values, tokens, channels, out + r * channels);
    }

    void score(const float* keys, int64_t tokens) const {
        const Floating block{tokens, channels, keys, nullptr};
        dense(block, queries, count, scores, 0, tokens);
    }

    static constexpr float kLeast = -1e37f;  // below it nothing is seen
    static constexpr float kHidden = -3e38f;
};

struct Head {
    const Attending& a;
    const Stretch& own;
    int64_t sequence, head;
    Rows rows;
    float *keys, *values, *every;  // of a packed group; all scores

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

    void block(const float* k, const float* v, int64_t begin, int64_t tokens, int64_t old) {
        rows.score(k, tokens);
        hide(begin, tokens, old);
        if (every)
            for (int64_t r = 0; r < rows.count; r++)
                memcpy(every + r * a.pitch + begin, rows.scores + r * tokens, tokens * sizeof(float));
        rows.add(v, tokens);
    }

    void all() {
        const int64_t packed = own.groups * a.size, old = packed + own.held, whole = own.held + a.tokens;
        int64_t least = old;  // blocks that nothing sees are left out
        for (int64_t t = 0; t < a.tokens; t++) {
            const int64_t first = a.first ? a.first[sequence * a.tokens + t] : 0;
            least = first < least ? first : least;
        }
        for (int64_t g = 0; g < own.groups; g++) {
            unpack_group(a, own.packed + g * a.group_bytes(), keys, values);
            block(keys, values, g * a.size, a.size, old);
        }
        for (int64_t t = 0; t < whole; t += kKeys) {
            const int64_t count = whole - t < kKeys ? whole - t : kKeys;
            if (packed + t + count <= least && !every) continue;
            block(own.keys + t * a.channels, own.values + t * a.channels, packed + t, count, old);
        }
    }
};

void attend(const Attending& a, int64_t sequence, int64_t head, float* scratch) {
    const int64_t n = a.channels, count = a.group * a.tokens, block = a.size > kKeys ? a.size : kKeys;
    const Stretch& own = a.stretches[sequence * a.heads + head];
    const float* k = a.k + sequence * a.k_strides[0] + head * a.k_strides[1];
    const float* v = a.v + sequence * a.v_strides[0] + head * a.v_strides[1];
    for (int64_t t = 0; t < a.tokens; t++) {
        memcpy(own.keys + (own.held + t) * n, k + t * a.k_strides[2], n * sizeof(float));
        memcpy(own.values + (own.held + t) * n, v + t * a.v_strides[2], n * sizeof(float));
    }
    float* queries = scratch;
    float* out = queries + count * n;
    float* scores = out + count * n;
    float* most = scores + count * block;
    float* total = most + count;
    float* rest = total + count;
    float* every = a.weights ? rest + (a.bits ? 2 * a.size * n : 0) : nullptr;
    const float scale = 1.0f / __builtin_sqrtf(float(n));
    for (int64_t r = 0; r < count; r++) {
        const float* q = a.q + sequence * a.q_strides[0] + (head * a.group + r / a.tokens) * a.q_strides[1] + r % a.tokens * a.q_strides[2];
        for (int64_t c = 0; c < n; c++) queries[r * n + c] = q[c] * scale, out[r * n + c] = 0;
        most[r] = Rows::kLeast, total[r] = 0;
    }
    Head one{a, own, sequence, head, {count, n, queries, out, scores, most, total}, rest, rest + a.size * n, every};
    one.all();
    for (int64_t r = 0; r < count; r++) {
        const int64_t token = r % a.tokens, at = head * a.group + r / a.tokens;
        float* to = a.out + ((sequence * a.tokens + token) * a.heads * a.group + at) * n;
        const float share = 1.0f / total[r];
        for (int64_t c = 0; c < n; c++) to[c] = out[r * n + c] * share;
    }
    if (!every) return;
    const int64_t columns = own.groups * a.size + own.held + a.tokens;
    for (int64_t t = 0; t < a.tokens; t++) {
        float* to = a.weights + ((sequence * a.heads + head) * a.tokens + t) * a.pitch;
        for (int64_t c = 0; c < columns; c++) to[c] = 0;
        for (int64_t g = 0; g < a.group; g++) {
            const int64_t r = g * a.tokens + t;
            const float* from = every + r * a.pitch;
            for (int64_t c = 0; c < columns; c++)
                to[c] += from[c] < Rows::kLeast ? 0.0f : exponential(from[c] - most[r]) / total[r];
        }
    }
}
