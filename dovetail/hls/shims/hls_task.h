// Dovetail's stand-in for hls::task: a process that never ends runs while its inputs last.
//
// Each task is called again and again; a read from an empty stream ends its turn instead of the program. Tasks take
// turns until none of them makes progress. A task's body must read before it writes, as hardware's does per firing.
#ifndef DOVETAIL_HLS_TASK_H
#define DOVETAIL_HLS_TASK_H
#include <cstddef>
#include <functional>
#include <type_traits>
#include <vector>
#include "hls_stream.h"

namespace hls {
class task {
  public:
    template <typename F, typename... Args> task(F &&body, Args &...args) { start(body, args...); }
    task() {}
    template <typename F, typename... Args> void operator()(F &&body, Args &...args) { start(body, args...); }

  private:
    template <typename F, typename... Args> static void start(F &&body, Args &...args) {
        pool().push_back([held = std::decay_t<F>(body), &args...] { held(args...); });
        settle();
    }
    static std::vector<std::function<void()>> &pool() { static std::vector<std::function<void()>> tasks; return tasks; }
    static void settle() {
        bool moved = true;
        while (moved) {
            moved = false;
            for (auto &one : pool()) while (dovetail::fires(one)) moved = true;
        }
    }
};
}  // namespace hls
#endif
