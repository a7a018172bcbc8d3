// The library's doors: which variants run here, packing a matrix, and products with packed matrices.
#include <cstring>
#include <memory>
#include <new>

#include "doors.h"
#include "kernels.h"
#include "threads.h"

namespace dovetail {

extern const Variant variant_portable;
#if defined(HAVE_avx2)
extern const Variant variant_avx2;
#endif
#if defined(HAVE_avxvnni)
extern const Variant variant_avxvnni;
#endif
#if defined(HAVE_avx512)
extern const Variant variant_avx512;
#endif

namespace {

// In rising order of speed; those this processor lacks, or the compiler did not know, are null.
const Variant* const* variants() {
    static const Variant* found[4] = {&variant_portable, nullptr, nullptr, nullptr};
#if defined(__x86_64__)
    static const bool looked = [] {
        __builtin_cpu_init();
        const bool two = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#if defined(HAVE_avx2)
        if (two) found[1] = &variant_avx2;
#endif
#if defined(HAVE_avxvnni)
        if (two && __builtin_cpu_supports("avxvnni")) found[2] = &variant_avxvnni;
#endif
#if defined(HAVE_avx512)
        if (two && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni"))
            found[3] = &variant_avx512;
#endif
        return true;
    }();
    (void)looked;
#endif
    return found;
}

enum How { kPerBlock, kExact, kPerToken };  // what becomes of activations; mirrored in linear.py

// Memory of the calling thread that products share: activations as the kernels want them.
struct Scratch {
    std::unique_ptr<char[]> bytes;
    int64_t size = 0;

    char* reserve(int64_t wanted) {
        if (size < wanted) {
            bytes.reset(new char[wanted + 64]);
            size = wanted;
        }
        return bytes.get() + (64 - reinterpret_cast<uintptr_t>(bytes.get()) % 64) % 64;
    }
};

constexpr int64_t kTokenBytes = 1 << 18;  // of activations to go through for each stretch of tiles: in the L2 cache
constexpr int64_t kKept = 1 << 24;        // of scratch memory, between calls
constexpr int64_t kTaskBytes = 1 << 15;   // of weights that a task of one token is worth a thread for

struct Job {
    const Matrix* m;
    const Variant* variant;
    Tokens tokens;
    float* y;
    int64_t tiles, chunk;  // tiles and tokens of a task
    int64_t row_tasks;

    static void work(void* with, int64_t task) {
        const Job& job = *static_cast<const Job*>(with);
        const int64_t first = task % job.row_tasks * job.tiles, token = task / job.row_tasks * job.chunk;
        const int64_t last = first + job.tiles < job.m->tiles() ? first + job.tiles : job.m->tiles();
        const int64_t blocks = job.m->blocks();
        Tokens some = job.tokens;
        some.count = job.tokens.count - token < job.chunk ? job.tokens.count - token : job.chunk;
        if (some.sums) some.sums += token * blocks;
        if (some.floats) some.floats += token * some.stride;
        else some.integers += token * some.stride, some.scales += token * blocks, some.offsets += token * blocks;
        job.variant->product(*job.m, some, job.y + token * job.m->rows, first, last);
    }
};

struct Rounding {
    const Matrix* m;
    const Variant* variant;
    const float* x;
    int64_t count;
    bool per_token;
    Rounded out;

    static constexpr int64_t kTokens = 8;  // of a task

    static void work(void* with, int64_t task) {
        const Rounding& job = *static_cast<const Rounding*>(with);
        const int64_t begin = task * kTokens, end = begin + kTokens < job.count ? begin + kTokens : job.count;
        job.variant->quantise(*job.m, job.x, begin, end, job.per_token, job.out);
    }
};

void pad(const Matrix& m, const float* x, int64_t tokens, float* out) {
    const int64_t blocks = m.blocks(), padded = m.padded();
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t b = 0; b < blocks; b++, out += padded) {
            const int64_t first = b * m.block, n = m.columns - first < m.block ? m.columns - first : m.block;
            memcpy(out, x + t * m.columns + first, n * sizeof(float));
            memset(out + n, 0, (padded - n) * sizeof(float));
        }
}

thread_local Scratch scratch;

// Sums of the blocks of each token: what zero points multiply.
void block_sums(const Matrix& m, const float* x, int64_t tokens, float* out) {
    const int64_t blocks = m.blocks(), padded = m.padded();
    for (int64_t i = 0; i < tokens * blocks; i++, x += padded) {
        float sum = 0;
        for (int64_t j = 0; j < padded; j++) sum += x[j];
        out[i] = sum;
    }
}

Tokens prepared(const Matrix& m, const Variant& variant, const float* x, int64_t count, int how, int threads) {
    const int64_t blocks = m.blocks(), stride = blocks * m.padded(), cells = count * blocks;
    if (how == kExact) {
        const bool plain = stride == m.columns;
        if (plain && !m.zeros) return {count, stride, x, nullptr, nullptr, nullptr, nullptr};
        float* sums = reinterpret_cast<float*>(scratch.reserve((cells + (plain ? 0 : count * stride)) * sizeof(float)));
        if (!plain) pad(m, x, count, sums + cells);
        const float* floats = plain ? x : sums + cells;
        if (m.zeros) block_sums(m, floats, count, sums);
        return {count, stride, floats, nullptr, nullptr, m.zeros ? sums : nullptr, nullptr};
    }
    float* scales = reinterpret_cast<float*>(scratch.reserve(cells * 12 + count * stride));
    int32_t* offsets = reinterpret_cast<int32_t*>(scales + 2 * cells);
    const Rounded out{reinterpret_cast<int8_t*>(offsets + cells), scales, scales + cells, offsets};
    Rounding job{&m, &variant, x, count, how == kPerToken, out};
    Threads::shared().run(threads, (count + Rounding::kTokens - 1) / Rounding::kTokens, Rounding::work, &job);
    return {count, stride, nullptr, out.integers, scales, out.sums, offsets};
}

// Elementwise work between products, some tokens a task.
struct Gating {
    const Variant* variant;
    const float* pairs;  // [token][2 width]
    int64_t count, width;
    float* out;

    static constexpr int64_t kTokens = 8;

    static void work(void* with, int64_t task) {
        const Gating& job = *static_cast<const Gating*>(with);
        for (int64_t t = task * kTokens; t < (task + 1) * kTokens && t < job.count; t++)
            job.variant->gate(job.pairs + t * 2 * job.width, job.width, job.out + t * job.width);
    }
};

}  // namespace

void product(const Matrix& m, const Variant& with, const float* x, int64_t tokens, float* y, int how, int threads) {
    const Tokens in = prepared(m, with, x, tokens, how, threads);
    const int64_t token_bytes = in.stride * (how == kExact ? 4 : 1), tile_bytes = m.blocks() * m.steps() * kStep;
    int64_t chunk = kTokenBytes / token_bytes / 8 * 8;
    chunk = chunk < 8 ? 8 : chunk;
    int64_t tiles = (m.tiles() + threads * 4 - 1) / (threads * 4);  // a few tasks a thread, so that none waits long
    const int64_t least = kTaskBytes / tile_bytes / (tokens < 8 ? tokens : 8);
    tiles = ((tiles < least ? least : tiles) + 3) / 4 * 4;  // whole groups of tiles
    if (threads == 1) tiles = m.tiles();
    const int64_t row_tasks = (m.tiles() + tiles - 1) / tiles;
    Job job{&m, &with, in, y, tiles, chunk, row_tasks};
    Threads::shared().run(threads, row_tasks * ((tokens + chunk - 1) / chunk), Job::work, &job);
    if (scratch.size > kKept) scratch = Scratch();
}

void gate(const Variant& with, const float* pairs, int64_t tokens, int64_t width, float* out, int threads) {
    Gating job{&with, pairs, tokens, width, out};
    Threads::shared().run(threads, (tokens + Gating::kTokens - 1) / Gating::kTokens, Gating::work, &job);
}

namespace {

// Products with plain floats, some rows a task. Tokens go in turns through the rows of a task, which stay in a cache.
struct Plain {
    const Floating* m;
    const Variant* variant;
    const float* x;
    int64_t count;
    float* y;
    int64_t rows;  // of a task

    static void work(void* with, int64_t task) {
        const Plain& job = *static_cast<const Plain*>(with);
        const int64_t begin = task * job.rows, end = begin + job.rows < job.m->rows ? begin + job.rows : job.m->rows;
        job.variant->dense(*job.m, job.x, job.count, job.y, begin, end);
    }
};

}  // namespace

void dense(const Floating& m, const Variant& with, const float* x, int64_t tokens, float* y, int threads) {
    const int64_t row_bytes = m.columns * int64_t(sizeof(float));
    int64_t rows = 4 * kTaskBytes / row_bytes / kRows * kRows;  // stays in the second cache while tokens go through
    rows = rows < kRows ? kRows : rows;
    Plain job{&m, &with, x, tokens, y, rows};
    Threads::shared().run(threads, (m.rows + rows - 1) / rows, Plain::work, &job);
}

const Variant& variant_at(int index) { return *variants()[index]; }

}  // namespace dovetail

using namespace dovetail;

extern "C" {

// The name of variant 0 … 3, null where it does not run here.
DOOR const char* dovetail_variant(int index) { return variants()[index] ? variants()[index]->name : nullptr; }

// Bytes of the codes of a matrix.
DOOR int64_t dovetail_bytes(const Matrix* m) { return m->tiles() * m->blocks() * m->steps() * kStep; }

// Lay integers [rows][columns] out as `codes`, which holds `dovetail_bytes`. Padding is weight 0.
DOOR void dovetail_pack(const Matrix* m, const int8_t* integers, uint8_t* codes) {
    const int64_t excess = m->bits == 8 ? 128 : 8, blocks = m->blocks(), steps = m->steps(), wide = m->step_columns();
    for (int64_t tile = 0; tile < m->tiles(); tile++)
        for (int64_t b = 0; b < blocks; b++)
            for (int64_t s = 0; s < steps; s++)
                for (int64_t r = 0; r < kRows; r++, codes += 4) {
                    const int64_t row = tile * kRows + r;
                    uint8_t step[8];
                    for (int64_t j = 0; j < wide; j++) {
                        const int64_t inside = s * wide + j, column = b * m->block + inside;
                        const bool real = row < m->rows && inside < m->block && column < m->columns;
                        step[j] = uint8_t((real ? integers[row * m->columns + column] : 0) + excess);
                    }
                    for (int j = 0; j < 4; j++) codes[j] = wide == 4 ? step[j] : uint8_t(step[j] | step[j + 4] << 4);
                }
}

// y [tokens][rows] = x [tokens][columns] times the matrix transposed. Returns as `guarded`.
DOOR int dovetail_product(const Matrix* m, const float* x, int64_t tokens, float* y, int variant, int how,
                          int threads) {
    if (tokens < 1) return 0;
    return guarded([&] { product(*m, *variants()[variant], x, tokens, y, how, threads); });
}

// y [tokens][rows] = x [tokens][columns] times a matrix of floats transposed, for few tokens. Returns as `guarded`.
DOOR int dovetail_dense(const Floating* m, const float* x, int64_t tokens, float* y, int variant, int threads) {
    return guarded([&] { dense(*m, *variants()[variant], x, tokens, y, threads); });
}

// y = (silu(x G^T) * (x U^T)) D^T with `pair` the rows of G and then those of U. `between` holds [tokens][3 widths].
DOOR int dovetail_gated(const Matrix* pair, const Matrix* down, const float* x, int64_t tokens, float* between, float* y,
                        int variant, int how, int threads) {
    if (tokens < 1) return 0;
    return guarded([&] {
        const Variant& with = *variants()[variant];
        float* gated = between + tokens * pair->rows;
        product(*pair, with, x, tokens, between, how, threads);
        gate(with, between, tokens, pair->rows / 2, gated, threads);
        product(*down, with, gated, tokens, y, how, threads);
    });
}

// y [tokens][width] = weight * x / sqrt(mean(x^2) + epsilon), each token by itself.
DOOR void dovetail_norm(const float* x, const float* weight, float epsilon, int64_t tokens, int64_t width, float* y,
                        int variant) {
    for (int64_t t = 0; t < tokens; t++)
        variants()[variant]->norm(x + t * width, weight, epsilon, width, y + t * width);
}
}
