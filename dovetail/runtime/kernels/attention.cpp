// The door of attention over a cache: one task for each KV head of each sequence.
#include <atomic>
#include <memory>
#include <new>

#include "kernels.h"
#include "threads.h"

namespace dovetail {
namespace {

struct Work {
    const Attending* a;
    const Variant* variant;
    int64_t floats;
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
        job.variant->attend(*job.a, task / job.a->heads, task % job.a->heads, scratch.get());
    }
};

}  // namespace
}  // namespace dovetail

using namespace dovetail;

extern "C" {

// 0, or 1 when memory ran out, 2 when no thread could be started.
__attribute__((visibility("default"))) int dovetail_attend(const Attending* a, int variant, int threads) {
    Work job{a, &variant_at(variant), attend_floats(*a)};
    try {
        Threads::shared().run(threads, a->batch * a->heads, Work::work, &job);
    } catch (...) {
        return 2;
    }
    return job.failed.load() ? 1 : 0;
}
}
