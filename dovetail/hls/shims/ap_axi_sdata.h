// Dovetail's stand-in for AXI4-Stream packets: the data with its side channels, a width of 0 meaning "absent".
#ifndef DOVETAIL_AP_AXI_SDATA_H
#define DOVETAIL_AP_AXI_SDATA_H
#include <ap_int.h>
#include "hls_stream.h"

namespace hls {
template <int W> struct axis_side { typedef ap_uint<W> type; };
template <> struct axis_side<0> { typedef ap_uint<1> type; };
template <typename T> struct axis_bytes { static const int value = sizeof(T); };
template <int W> struct axis_bytes<ap_uint<W>> { static const int value = (W + 7) / 8; };
template <int W> struct axis_bytes<ap_int<W>> { static const int value = (W + 7) / 8; };

template <typename T, size_t WUser = 0, size_t WId = 0, size_t WDest = 0, unsigned char Enabled = 0xff, bool Strict = false>
struct axis {
    typedef ap_uint<axis_bytes<T>::value> byte_mask;
    T data;
    byte_mask keep;
    byte_mask strb;
    typename axis_side<WUser>::type user;
    ap_uint<1> last;
    typename axis_side<WId>::type id;
    typename axis_side<WDest>::type dest;
    axis() : data(), keep(-1), strb(-1), user(0), last(0), id(0), dest(0) {}
    axis(T value, bool end = false) : axis() { data = value; last = end; }
    T get_data() const { return data; }
    void set_data(const T &value) { data = value; }
    bool get_last() const { return last != 0; }
    void set_last(bool value) { last = value; }
    byte_mask get_keep() const { return keep; }
    void set_keep(const byte_mask &value) { keep = value; }
    byte_mask get_strb() const { return strb; }
    void set_strb(const byte_mask &value) { strb = value; }
    void keep_all() { keep = -1; }
};
template <typename T> using axis_data = axis<T>;
}  // namespace hls

template <int D, size_t U = 0, size_t TI = 0, size_t TD = 0> using ap_axis = hls::axis<ap_int<D>, U, TI, TD>;
template <int D, size_t U = 0, size_t TI = 0, size_t TD = 0> using ap_axiu = hls::axis<ap_uint<D>, U, TI, TD>;
template <int D, size_t U = 0, size_t TI = 0, size_t TD = 0> using qdma_axis = hls::axis<ap_uint<D>, U, TI, TD>;
#endif
