// Dovetail's stand-in for HLS streams: a queue that tells what hardware would do with it.
//
// A read from an empty stream blocks hardware for ever; so does a write to a full one whose reader has not started or
// has finished. Functions run one after another here, so a full stream counts only where a capacity is enforced
// (dovetail::enforce_capacity); elements left unread at the end are reported by the harness.
#ifndef DOVETAIL_HLS_STREAM_H
#define DOVETAIL_HLS_STREAM_H
#include <cstddef>
#include <deque>
#include <string>
#include "dovetail_events.h"

namespace hls {
template <typename T, int DEPTH = 0> class stream;

template <typename T> class stream<T, 0> : public dovetail::Channel {
  public:
    typedef T value_type;
    stream() : dovetail::Channel("") {}
    explicit stream(const char *name) : dovetail::Channel(name ? name : "") {}
    explicit stream(const std::string &name) : dovetail::Channel(name) {}
    ~stream() override { closing(queue_.size()); }
    stream(const stream &) = delete;
    stream &operator=(const stream &) = delete;

    void write(const T &value) { written(); queue_.push_back(value); if (queue_.size() > most_) most_ = queue_.size(); }
    bool write_nb(const T &value) { if (full()) return false; write(value); return true; }
    T read() {
        if (queue_.empty()) { starved(); return T(); }
        T value = queue_.front();
        queue_.pop_front();
        return value;
    }
    void read(T &value) { value = read(); }
    bool read_nb(T &value) { polled(); if (queue_.empty()) return false; value = read(); return true; }
    void operator>>(T &value) { value = read(); }
    void operator<<(const T &value) { write(value); }
    bool empty() const { polled(); return queue_.empty(); }
    bool full() const { return depth_ > 0 && queue_.size() >= depth_; }
    size_t size() const { return queue_.size(); }
    size_t capacity() const { return depth_; }
    void set_name(const char *name) { name_ = name; }
    size_t waiting() const override { return queue_.size(); }

  private:
    std::deque<T> queue_;
};

template <typename T, int DEPTH> class stream : public stream<T, 0> {
  public:
    stream() { this->depth_ = DEPTH; }
    explicit stream(const char *name) : stream<T, 0>(name) { this->depth_ = DEPTH; }
};
}  // namespace hls
#endif
