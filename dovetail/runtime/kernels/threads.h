// Threads for many small tasks: torch's own, or else a few that wait for work, briefly by spinning, since a decode step
// has hundreds of small products, then asleep.
#pragma once
#include <pthread.h>
#include <signal.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

#include "team.h"

namespace dovetail {

class Threads {
  public:
    using Work = void (*)(void* with, int64_t task);

    // Runs work(with, 0 … tasks - 1) on up to `threads` threads, the caller's included; returns when all are done.
    void run(int threads, int64_t tasks, Work work, void* with) {
        threads = int(tasks < threads ? tasks : threads);
        threads = threads < kMost ? threads : kMost;
        if (Parallel parallel = threads > 1 ? team() : nullptr) {
            Shared job{work, with, tasks};
            parallel(Shared::work_some, &job, unsigned(threads), 0);
            return;
        }
        std::unique_lock<std::mutex> mine(busy_, std::defer_lock);
        if (threads <= 1 || !mine.try_lock()) {  // another caller has the threads: do it alone
            for (int64_t task = 0; task < tasks; task++) work(with, task);
            return;
        }
        grow(threads - 1);
        work_ = work, with_ = with, tasks_ = tasks;
        next_.store(0, std::memory_order_relaxed);
        left_.store(threads - 1, std::memory_order_relaxed);
        {
            std::lock_guard<std::mutex> lock(sleep_);
            job_.store((job_.load(std::memory_order_relaxed) | 0xFF) + 1 + (threads - 1), std::memory_order_release);
        }
        wake_.notify_all();
        take();
        for (int spins = 0; left_.load(std::memory_order_acquire); spins++)
            if (spins > kSpins) std::this_thread::yield();
    }

    // One pool a process. A child of fork has none of its parent's threads, so it gets a new one; the old one is left.
    static Threads& shared() {
        static std::once_flag once;
        std::call_once(once, [] {
            current() = new Threads;
            pthread_atfork(nullptr, nullptr, [] { current() = new Threads; });
        });
        return *current();
    }

  private:
    struct Shared {
        Work work;
        void* with;
        int64_t tasks;
        std::atomic<int64_t> next{0};

        static void work_some(void* shared) {
            Shared& job = *static_cast<Shared*>(shared);
            for (int64_t task; (task = job.next.fetch_add(1, std::memory_order_relaxed)) < job.tasks;)
                job.work(job.with, task);
        }
    };

    static constexpr int kSpins = 4000;  // about 50 microseconds
    static constexpr int kMost = 255;  // a byte holds how many a job wants

    static Threads*& current() {
        static Threads* pool = nullptr;  // never destroyed: threads may outlive main()
        return pool;
    }

    void grow(int wanted) {
        for (; made_ < wanted; made_++)
            std::thread(&Threads::wait, this, made_, job_.load(std::memory_order_relaxed)).detach();
    }

    void take() {
        for (int64_t task; (task = next_.fetch_add(1, std::memory_order_relaxed)) < tasks_;) work_(with_, task);
    }

    // A job's number has the threads it wants in its low byte; those beyond them wait for the next.
    void wait(int index, uint64_t seen) {
        sigset_t all;  // signals are for the threads that know what to do with them
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, nullptr);
        for (;;) {
            uint64_t job = job_.load(std::memory_order_acquire);
            for (int spins = 0; job == seen && spins < kSpins; spins++) {
                pause();
                job = job_.load(std::memory_order_acquire);
            }
            if (job == seen) {
                std::unique_lock<std::mutex> lock(sleep_);
                wake_.wait(lock, [&] { return (job = job_.load(std::memory_order_acquire)) != seen; });
            }
            seen = job;
            if (index >= int(job & 0xFF)) continue;
            take();
            left_.fetch_sub(1, std::memory_order_release);
        }
    }

    static void pause() {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
    }

    std::mutex busy_, sleep_;
    std::condition_variable wake_;
    std::atomic<uint64_t> job_{0};
    std::atomic<int64_t> next_{0};
    std::atomic<int> left_{0};
    Work work_ = nullptr;
    void* with_ = nullptr;
    int64_t tasks_ = 0;
    int made_ = 0;
};

}  // namespace dovetail
