// Dovetail's stand-in for manual bursts on m_axi: requests are queued and reads must stay inside them.
#ifndef DOVETAIL_HLS_BURST_MAXI_H
#define DOVETAIL_HLS_BURST_MAXI_H
#include <cstddef>
#include <deque>
#include "dovetail_events.h"

namespace hls {
template <typename T> class burst_maxi {
  public:
    burst_maxi(T *base) : base_(base) {}
    void read_request(size_t offset, size_t length) { asked(reads_, offset, length); }
    T read() { return base_[next(reads_, "burst-empty")]; }
    void write_request(size_t offset, size_t length) { asked(writes_, offset, length); }
    void write(const T &value) { base_[next(writes_, "burst-range")] = value; }
    void write_response() { if (!writes_.empty()) dovetail::event("burst-range", "write_response", writes_.size()); }

  private:
    T *base_;
    std::deque<size_t> reads_, writes_;
    static void asked(std::deque<size_t> &queue, size_t offset, size_t length) {
        for (size_t i = 0; i < length; i++) queue.push_back(offset + i);
    }
    static size_t next(std::deque<size_t> &queue, const char *kind) {
        if (queue.empty()) { dovetail::event(kind, "burst_maxi", 0); return 0; }
        size_t at = queue.front();
        queue.pop_front();
        return at;
    }
};
}  // namespace hls
#endif
