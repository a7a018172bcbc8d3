// The door of attention over a cache: a task for each KV head of each sequence, or several where it holds much.
#include <atomic>
#include <cmath>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "doors.h"
#include "kernels.h"
#include "threads.h"

namespace dovetail {
namespace {

constexpr int64_t kPiece = 2048;  // columns of a task at least, where a head has several
constexpr int64_t kPieces = 16;   // of a head at most

struct Work {
    const Attending* a;
    const Variant* variant;
    int64_t floats;
    std::vector<Piece> pieces;
    std::atomic<bool> failed{false};

    static void work(void* with, int64_t task) {
        Work& job = *static_cast<Work*>(with);
        thread_local std::unique_ptr<float[]> scratch;
        thread_local int64_t size = 0;
        if (size < job.floats) {
            scratch.reset(new (std::nothrow) float[job.floats]);
            size = scratch ? job.floats : 0;
        }
        if (!size) return job.failed.store(true);
        job.variant->attend(*job.a, job.pieces[task], scratch.get());
    }
};

// New keys and values go behind those held, before anything is attended.
void append(const Attending& a, int64_t sequence, int64_t head) {
    const Stretch& own = a.stretches[sequence * a.heads + head];
    const float* k = a.k + sequence * a.k_strides[0] + head * a.k_strides[1];
    const float* v = a.v + sequence * a.v_strides[0] + head * a.v_strides[1];
    for (int64_t t = 0; t < a.tokens; t++) {
        std::memcpy(own.keys + (own.held + t) * a.channels, k + t * a.k_strides[2], a.channels * sizeof(float));
        std::memcpy(own.values + (own.held + t) * a.channels, v + t * a.v_strides[2], a.channels * sizeof(float));
    }
}

int64_t columns_of(const Attending& a, int64_t sequence, int64_t head) {
    const Stretch& own = a.stretches[sequence * a.heads + head];
    return own.groups * a.size + own.held + a.tokens;
}

// How a head is cut depends on what it holds alone: sums are the same however many threads there are. Weights of all
// tokens need the sums of all, so those heads stay whole.
int64_t pieces_of(const Attending& a, int64_t columns) {
    const int64_t many = a.weights ? 1 : columns / kPiece;
    return many < 1 ? 1 : many < kPieces ? many : kPieces;
}

// What the pieces of one head add up to.
void join(const Attending& a, const Piece* pieces, int64_t count) {
    const int64_t n = a.channels, rows = a.group * a.tokens;
    for (int64_t r = 0; r < rows; r++) {
        const int64_t token = r % a.tokens, at = pieces->head * a.group + r / a.tokens;
        float* to = a.out + ((pieces->sequence * a.tokens + token) * a.heads * a.group + at) * n;
        float peak = pieces->to[rows * n + r], total = 0;
        for (int64_t p = 1; p < count; p++) peak = std::fmax(peak, pieces[p].to[rows * n + r]);
        for (int64_t c = 0; c < n; c++) to[c] = 0;
        for (int64_t p = 0; p < count; p++) {
            const float* from = pieces[p].to;
            const float share = std::exp(from[rows * n + r] - peak);
            total += share * from[rows * n + rows + r];
            for (int64_t c = 0; c < n; c++) to[c] += share * from[r * n + c];
        }
        for (int64_t c = 0; c < n; c++) to[c] /= total;
    }
}

void attended(Work& job, int threads) {
    const Attending& a = *job.a;
    const int64_t each = a.group * a.tokens * (a.channels + 2);
    std::vector<int64_t> first;  // of the pieces of each head
    int64_t sums = 0;
    for (int64_t s = 0; s < a.batch; s++)
        for (int64_t h = 0; h < a.heads; h++) {
            const int64_t columns = columns_of(a, s, h), count = pieces_of(a, columns), step = (columns + count - 1) / count;
            append(a, s, h);
            first.push_back(int64_t(job.pieces.size()));
            for (int64_t p = 0; p < count; p++) job.pieces.push_back({s, h, p * step, (p + 1) * step, nullptr});
            sums += count > 1 ? count : 0;
        }
    first.push_back(int64_t(job.pieces.size()));
    std::unique_ptr<float[]> memory(sums ? new float[sums * each] : nullptr);
    float* next = memory.get();
    for (size_t i = 0; i + 1 < first.size(); i++)
        for (int64_t p = first[i]; p < first[i + 1] && first[i + 1] - first[i] > 1; p++, next += each) job.pieces[p].to = next;
    Threads::shared().run(threads, int64_t(job.pieces.size()), Work::work, &job);
    for (size_t i = 0; i + 1 < first.size() && !job.failed.load(); i++)
        if (first[i + 1] - first[i] > 1) join(a, &job.pieces[first[i]], first[i + 1] - first[i]);
    if (job.failed.load()) throw std::bad_alloc();
}

}  // namespace

void attend(const Attending& a, const Variant& with, int threads) {
    Work job{&a, &with, attend_floats(a), {}};
    attended(job, threads);
}

}  // namespace dovetail

using namespace dovetail;

extern "C" {

// Returns as `guarded`.
DOOR int dovetail_attend(const Attending* a, int variant, int threads) {
    return guarded([&] { attend(*a, variant_at(variant), threads); });
}
}
