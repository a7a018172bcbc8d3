// The half of a test program that knows no HLS: one process per test, steps, executed blocks, and how a test ended.
//
// Compiled apart, without instrumentation, so that a design meets none of the system headers included here.
#define DOVETAIL_RUNTIME
#include <cinttypes>
#include <cmath>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include "dovetail_driver.h"

extern "C" char __executable_start;
extern "C" void __sanitizer_print_stack_trace() __attribute__((weak));
extern "C" void __sanitizer_set_death_callback(void (*)()) __attribute__((weak));

namespace dovetail {
enum { CODE_SPAN = 1 << 23, OVER_BUDGET = 77, STOPPED = 78 };
State &state() { static State s = {}; return s; }

static void dump_counts(const char *key, const uint32_t *counts) {
    State &s = state();
    fprintf(s.out, "%s", key);
    for (uint32_t i = 0; i < s.seen_count; i++)
        if (counts[s.seen[i]]) fprintf(s.out, " %" PRIx32 ":%" PRIu32, s.seen[i], counts[s.seen[i]]);
    fputc('\n', s.out);
}
static void dump() {
    State &s = state();
    s.counting = false;
    fprintf(s.out, "steps %" PRIu64 "\n", s.steps);
    if (s.overflows) fprintf(s.out, "overflows %" PRIu32 "\n", s.overflows);
    if (s.shifts) fprintf(s.out, "shifts %" PRIu32 "\n", s.shifts);
    dump_counts("blocks", s.hits);
    fflush(s.out);
}
static void leave(int code) { dump(); fflush(stdout); _exit(code); }

// What a stand-in header reports ends the test, leftovers excepted.
void event(const char *kind, const char *name, size_t count) {
    State &s = state();
    if (!s.out) return;
    bool was = s.counting;
    s.counting = false;
    fprintf(s.out, "event %s %zu %s\n", kind, count, *name ? name : "-");
    s.counting = was;
    if (kind[0] == 'l') return;
    fflush(s.out);
    if (__sanitizer_print_stack_trace) __sanitizer_print_stack_trace();
    leave(STOPPED);
}
static void prepare(const char *in, const char *out) {
    State &s = state();
    s.in = fopen(in, "r");
    s.out = fopen(out, "a");
    if (!s.in || !s.out) _exit(99);
    if (__sanitizer_set_death_callback) __sanitizer_set_death_callback(dump);
    void *space = mmap(nullptr, 2 * sizeof(uint32_t) * CODE_SPAN + (sizeof(uint32_t) << 20), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    s.hits = static_cast<uint32_t *>(space);
    s.late = s.hits + CODE_SPAN;
    s.seen = s.late + CODE_SPAN;
}

// File: seconds a test may take, then per test "T <index> <bytes>", where <bytes> is the length of what follows.
int main_of(int argc, char **argv, void (*test)(long calls), void (*shape)()) {
    if (argc < 3) { shape(); return 0; }
    prepare(argv[1], argv[2]);
    State &s = state();
    double seconds = strtod(token().c_str(), nullptr);
    s.budget = strtoull(token().c_str(), nullptr, 10);
    s.late_from = s.budget > 200000 ? s.budget - 100000 : s.budget / 2;
    long most = count();  // failing tests before the rest is left out
    enforce_capacity(count() != 0);
    for (std::string word = token(); word == "T"; word = token()) {
        long index = count(), length = count(), calls = count();
        std::vector<long> choices(count());
        for (long &choice : choices) choice = count();
        long at = ftell(s.in);
        for (long choice : choices) {
            fprintf(s.out, "test %ld %ld\n", index, choice);
            fflush(s.out);
            fprintf(stderr, "@@test %ld %ld\n", index, choice);
            pid_t child = fork();
            if (child == 0) {
                rlimit limit = {static_cast<rlim_t>(std::ceil(seconds)), static_cast<rlim_t>(std::ceil(seconds)) + 1};
                setrlimit(RLIMIT_CPU, &limit);
                s.in = fopen(argv[1], "r");  // a position of its own
                fseek(s.in, at, SEEK_SET);
                s.choice = choice;
                test(calls);
                leave(0);
            }
            int status = -1;
            if (child < 0 || waitpid(child, &status, 0) < 0) return 98;
            int code = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
            fprintf(s.out, "\nend %ld %d\n", index, code);
            fflush(s.out);
            if (code && --most == 0) return 0;
        }
        fseek(s.in, at + length, SEEK_SET);
    }
    return 0;
}
}  // namespace dovetail

extern "C" void __sanitizer_cov_trace_pc() {
    dovetail::State &s = dovetail::state();
    if (!s.counting) return;
    uintptr_t at = reinterpret_cast<uintptr_t>(__builtin_return_address(0)) - reinterpret_cast<uintptr_t>(&__executable_start);
    if (at < dovetail::CODE_SPAN) {
        if (!s.hits[at]++ && s.seen_count < (1u << 20)) s.seen[s.seen_count++] = static_cast<uint32_t>(at);
        if (s.steps > s.late_from) s.late[at]++;
    }
    if (++s.steps > s.budget) {
        s.counting = false;
        dovetail::dump_counts("late", s.late);
        dovetail::leave(dovetail::OVER_BUDGET);
    }
}
// The first report of what is watched, with the place: between marks, so that a fault later on is not taken for it.
static bool told(uint32_t &count) {
    dovetail::State &s = dovetail::state();
    return !s.counting || count++;
}
static void tell(const char *kind, const char *said) {
    dovetail::State &s = dovetail::state();
    s.counting = false;
    fprintf(stderr, "@@%s\n%s\n", kind, said);
    if (__sanitizer_print_stack_trace) __sanitizer_print_stack_trace();
    fprintf(stderr, "@@watched\n");
    s.counting = true;
}
// What the arbitrary-precision types report when a value does not fit and wraps around.
extern "C" void dovetail_overflow() {
    if (!told(dovetail::state().overflows)) tell("overflow", "");
}
// And when a shift is by an amount below zero, or not below the width.
extern "C" void dovetail_shift(long amount, int width) {
    if (told(dovetail::state().shifts)) return;
    char said[120];
    snprintf(said, sizeof said, amount < 0 ? "shift exponent %ld of a %d-bit type is negative"
                                           : "shift exponent %ld is too large for a %d-bit type", amount, width);
    tell("shift", said);
}
