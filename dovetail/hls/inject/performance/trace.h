// What a traced run writes down: arrays as they are born, functions, loop iterations, and every element touched.
#ifndef DOVETAIL_TRACE_H
#define DOVETAIL_TRACE_H
#include <cstdint>
#include <cstdio>
#include <cstdlib>
namespace dt {
struct Event { uint64_t what, value; };
enum { ITERATION = 1, TOUCH = 2, BORN = 3, SIZE = 4, ENTER = 5, LEAVE = 6 };
static const size_t MOST_EVENTS = 1u << 19;
static Event events[MOST_EVENTS];
static size_t written_down = 0;
inline void note(uint64_t kind, uint64_t id, uint64_t value) {
    if (written_down < MOST_EVENTS) events[written_down++] = {kind | id << 8, value};
}
inline void iteration(int loop) { note(ITERATION, (uint64_t)loop, 0); }
template <typename T> T &touch(int site, T &x) { note(TOUCH, (uint64_t)site, (uint64_t)(uintptr_t)&x); return x; }
inline void born(int id, const void *at, size_t bytes, size_t element) {
    note(BORN, (uint64_t)id, (uint64_t)(uintptr_t)at);
    note(SIZE, element, bytes);
}
struct Scope {
    int id;
    explicit Scope(int n) : id(n) { note(ENTER, (uint64_t)n, 0); }
    ~Scope() { note(LEAVE, (uint64_t)id, 0); }
};
inline void save() {
    if (FILE *f = fopen("trace.bin", "wb")) {
        fwrite(events, sizeof(Event), written_down, f);
        fclose(f);
    }
}
}  // namespace dt
#endif
