// What a witness program is made of: guarded memory for ports, counted loops, filled variables, compared outputs.
#ifndef DOVETAIL_WITNESS_H
#define DOVETAIL_WITNESS_H
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>
#include <vector>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <ap_fixed.h>
#include <ap_int.h>
#include <hls_stream.h>

namespace dt {
static const int MOST = 1 << 14;  // output values of one test
struct Shared {
    int test, at, end;
    long ticks;
    double got, want;
    uint64_t hash;
    int count, port;
    long double out[MOST];
    unsigned char from[MOST];
};
static Shared *shared;
static long ticks, limit = 1L << 40;
static uint64_t fill;
enum { DONE = 0, DIFFERENT = 71, COUNT = 72, BUDGET = 73, LEFT = 74 };

[[noreturn]] inline void leave(int why) { shared->end = why; shared->ticks = ticks; _exit(why); }
inline void tick() { if (++ticks > limit) leave(BUDGET); }
inline uint64_t garbage() {
    fill += 0x9E3779B97F4A7C15ull;
    uint64_t z = fill;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
    return z ^ (z >> 29);
}

// Automatic variables without an initialiser hold something else for each fill.
template <typename T, std::enable_if_t<std::is_integral<T>::value && !std::is_same<T, bool>::value, int> = 0>
void poison(T &x) { x = static_cast<T>(garbage()); }
inline void poison(bool &x) { x = garbage() >> 17 & 1; }
template <typename T, std::enable_if_t<std::is_floating_point<T>::value, int> = 0>
void poison(T &x) { x = static_cast<T>(static_cast<double>(garbage() >> 40) / 4096.0 - 2000.0); }
template <int W> void poison(ap_int<W> &x) { x = static_cast<int64_t>(garbage()); }
template <int W> void poison(ap_uint<W> &x) { x = garbage(); }
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> void poison(ap_fixed<W, I, Q, O, N> &x) {
    ap_int<W> bits = static_cast<int64_t>(garbage());
    x.range(W - 1, 0) = bits;
}
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> void poison(ap_ufixed<W, I, Q, O, N> &x) {
    ap_uint<W> bits = garbage();
    x.range(W - 1, 0) = bits;
}
struct Anything { template <typename T> Anything(T &) {} };
inline void poison(Anything) {}
template <typename T, size_t N> void poison(T (&x)[N]) { for (size_t i = 0; i < N; i++) poison(x[i]); }

// Numbers in and out of any port type; long double holds every 64-bit integer.
template <typename T, std::enable_if_t<std::is_arithmetic<T>::value, int> = 0> long double number(const T &x) { return x; }
template <int W> long double number(const ap_int<W> &x) { return W > 64 ? (long double)x.to_double() : (long double)x.to_int64(); }
template <int W> long double number(const ap_uint<W> &x) { return W > 64 ? (long double)x.to_double() : (long double)x.to_uint64(); }
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> long double number(const ap_fixed<W, I, Q, O, N> &x) { return x.to_double(); }
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> long double number(const ap_ufixed<W, I, Q, O, N> &x) { return x.to_double(); }
template <typename T> T value(double x) {
    if constexpr (std::is_integral<T>::value) return static_cast<T>(static_cast<int64_t>(x));
    else return T(x);
}
template <int W> void assign(ap_int<W> &to, double x) { to = static_cast<int64_t>(x); }
template <int W> void assign(ap_uint<W> &to, double x) { to = static_cast<int64_t>(x); }
template <typename T> void assign(T &to, double x) { to = value<T>(x); }

class Inputs {
  public:
    explicit Inputs(const double *at) : at_(at) {}
    double next() { return *at_++; }
    const double *at_;
};

template <typename T> T *filled(Inputs &in, size_t n) {
    T *p = new T[n];
    for (size_t i = 0; i < n; i++) assign(p[i], in.next());
    return p;
}
template <typename T> T *blank(size_t n) {
    T *p = new T[n];
    for (size_t i = 0; i < n; i++) poison(p[i]);
    return p;
}
inline void emit(long double x) {
    if (shared->count < MOST) {
        shared->out[shared->count] = x;
        shared->from[shared->count] = static_cast<unsigned char>(shared->port);
    }
    shared->count++;
    uint64_t bits = 0;
    double d = static_cast<double>(x);
    std::memcpy(&bits, &d, sizeof bits);
    shared->hash = (shared->hash ^ bits) * 0x100000001B3ull;
}
template <typename T> void emit_all(const T *p, size_t n) { for (size_t i = 0; i < n; i++) emit(number(p[i])); }
template <typename T> void drain(hls::stream<T> &s) {
    emit(static_cast<long double>(s.size()));
    while (!s.empty()) emit(number(s.read()));
}
struct Tolerance { double atol, rtol; };

inline bool close(long double a, long double b, double atol, double rtol) {
    if (std::isnan((double)a) || std::isnan((double)b)) return std::isnan((double)a) && std::isnan((double)b);
    return a == b || std::fabs((double)(a - b)) <= atol + rtol * std::fabs((double)b);
}
}  // namespace dt
#endif
