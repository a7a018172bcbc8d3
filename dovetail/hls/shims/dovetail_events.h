// What the stand-in headers tell the harness. Weak: without a harness a starved stream ends the program.
#ifndef DOVETAIL_EVENTS_H
#define DOVETAIL_EVENTS_H
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>

namespace dovetail {
// kind: "read-empty" | "write-full" | "leftover" | "burst-empty" | "burst-range"; must not return for a fatal one.
void event(const char *kind, const char *name, size_t count);
#ifndef DOVETAIL_RUNTIME
__attribute__((weak)) void event(const char *kind, const char *name, size_t count) {
    fprintf(stderr, "dovetail-event: %s %s %zu\n", kind, name, count);
    if (kind[0] != 'l') abort();
}
#endif

// What a read from an empty stream throws inside a task, whose turn is over then.
struct Starved {};
inline bool &in_task() { static bool inside = false; return inside; }
inline bool fires(const std::function<void()> &body) {
    bool before = in_task(), done = true;
    in_task() = true;
    try { body(); } catch (const Starved &) { done = false; }
    in_task() = before;
    return done;
}

// One node of the list of streams that are alive, so that leftovers can be counted; no allocation of its own.
class Channel {
  public:
    explicit Channel(const std::string &name) : name_(name) { link(); }
    virtual ~Channel() { unlink(); }
    virtual size_t waiting() const = 0;
    const std::string &name() const { return name_; }
    size_t most() const { return most_; }
    void limit(size_t depth) { depth_ = depth; }
    void outside() { outside_ = true; }
    static Channel *&first() { static Channel *head = nullptr; return head; }
    static bool &enforce() { static bool on = false; return on; }
    Channel *next() const { return next_; }

  protected:
    // Called by the stream's own destructor: here the queue would be gone.
    void closing(size_t left) const { if (left && !outside_) event("leftover", name_.c_str(), left); }
    void starved() const { if (in_task()) throw Starved(); event("read-empty", name_.c_str(), 0); }
    void written() { if (enforce() && depth_ && waiting() >= depth_) event("write-full", name_.c_str(), depth_); }
    void polled() const {}
    size_t depth_ = 0, most_ = 0;
    std::string name_;

  private:
    void link() { next_ = first(); first() = this; }
    void unlink() {
        for (Channel **at = &first(); *at; at = &(*at)->next_)
            if (*at == this) { *at = next_; return; }
    }
    bool outside_ = false;
    Channel *next_ = nullptr;
};
inline void enforce_capacity(bool on) { Channel::enforce() = on; }
}  // namespace dovetail
#endif
