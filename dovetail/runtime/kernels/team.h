// The threads of torch's OpenMP, where torch is in this process: two pools that spin beside each other take the cores
// from one another, so that a small model decodes at a third of its speed.
#pragma once
#ifdef __linux__
#include <dlfcn.h>
#include <link.h>
#endif
#include <pthread.h>
#include <string.h>

#include <atomic>
#include <mutex>

namespace dovetail {

// What compilers call for `#pragma omp parallel` since GCC 4.9; LLVM's and Intel's runtimes have it as well.
using Parallel = void (*)(void (*work)(void*), void* with, unsigned threads, unsigned flags);

#ifdef __linux__
namespace {

int look(dl_phdr_info* object, size_t, void* found) {
    const char *path = object->dlpi_name, *name = strrchr(path, '/');
    const bool own = strstr(path, "/torch/lib/") || strstr(path, "/torch.libs/");  // others have threads of their own
    if (!name || !own || !(strstr(name, "libgomp") || strstr(name, "libiomp") || strstr(name, "libomp"))) return 0;
    void* library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (library) *static_cast<Parallel*>(found) = reinterpret_cast<Parallel>(dlsym(library, "GOMP_parallel"));
    return *static_cast<Parallel*>(found) != nullptr;
}

}  // namespace
#endif

inline std::atomic<bool>& forked() {
    static std::atomic<bool> is{false};
    return is;
}

namespace {

// As this library is loaded: torch may have used its threads before any product of ours, and a fork come between.
[[maybe_unused]] const int watched = pthread_atfork(nullptr, nullptr, [] { forked() = true; });

}  // namespace

// Null where there is none, and in a child of fork, whose OpenMP waits for threads that only its parent has.
inline Parallel team() {
    static std::atomic<Parallel> found{nullptr};
    static std::once_flag once;
    if (forked()) return nullptr;
    std::call_once(once, [] {
#ifdef __linux__
        Parallel first = nullptr;
        dl_iterate_phdr(look, &first);
        found = first;
#endif
    });
    return found;
}

}  // namespace dovetail
