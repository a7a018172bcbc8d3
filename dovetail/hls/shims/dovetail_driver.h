// The half of a test program that does not depend on the design: values in, values out, steps, executed blocks.
//
// One process per test, forked from one that has done nothing yet: statics start fresh, and a crash ends one test.
// Reads the file argv[1], appends to argv[2]; see dovetail/hls/harness.py for both formats.
#ifndef DOVETAIL_DRIVER_H
#define DOVETAIL_DRIVER_H
#include <array>
#include <cinttypes>
#include <cmath>
#include <complex>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>
#include <ap_fixed.h>
#include <ap_int.h>
#include "ap_axi_sdata.h"
#include "hls_burst_maxi.h"
#include "hls_stream.h"
#include "hls_vector.h"

namespace dovetail {
struct State {
    FILE *in, *out;
    bool counting;
    uint64_t steps, budget, late_from;
    uint32_t *hits, *seen, *late;
    uint32_t seen_count, overflows, shifts;
    long choice;  // which of several variants in one text runs: 0 for the text as it is
};
State &state();

// What variants of a text are made with: everything in a variable set to zero, and a value read without its sign.
template <typename T> void blank(T &x) { x = T(0); }
template <typename T, size_t N> void blank(T (&x)[N]) { for (T &y : x) blank(y); }
template <int W> ap_uint<W> unsign(const ap_int<W> &x) { return x; }
template <int W, int I> ap_ufixed<W, I> unsign(const ap_fixed<W, I> &x) { ap_ufixed<W, I> y; y.range() = x.range(); return y; }
template <typename T> auto unsign(const T &x) {
    if constexpr (std::is_integral<T>::value && !std::is_same<T, bool>::value) return static_cast<std::make_unsigned_t<T>>(x);
    else return x;
}

inline std::string token() {
    std::string word;
    int c = fgetc(state().in);
    while (c == ' ' || c == '\n') c = fgetc(state().in);
    for (; c != EOF && c != ' ' && c != '\n'; c = fgetc(state().in)) word += static_cast<char>(c);
    return word;
}
inline long count() { return strtol(token().c_str(), nullptr, 10); }

// Layouts: s8 u32 b f d h q16.4 (signed fixed) Q16.4 (unsigned) i12 (ap_int) I12 (ap_uint); a struct is its leaves.
template <typename T, typename = void> struct Io;
template <typename T> struct Io<T, std::enable_if_t<std::is_integral<T>::value || std::is_enum<T>::value>> {
    static void get(T &x) {
        std::string w = token();
        x = static_cast<T>(w[0] == '-' ? static_cast<uint64_t>(strtoll(w.c_str(), nullptr, 10)) : strtoull(w.c_str(), nullptr, 10));
    }
    static void put(const T &x) {
        if (std::is_signed<T>::value) fprintf(state().out, " %lld", static_cast<long long>(x));
        else fprintf(state().out, " %llu", static_cast<unsigned long long>(x));
    }
    static std::string layout() {
        if (std::is_same<T, bool>::value) return "b";
        return (std::is_signed<T>::value ? "s" : "u") + std::to_string(8 * sizeof(T));
    }
};
inline void put_real(double x) {
    if (std::isnan(x)) fputs(" nan", state().out);
    else fprintf(state().out, " %.17g", x == 0 ? 0.0 : x);
}
template <typename T> struct Io<T, std::enable_if_t<std::is_floating_point<T>::value || std::is_same<T, _Float16>::value>> {
    static void get(T &x) { x = static_cast<T>(strtod(token().c_str(), nullptr)); }
    static void put(const T &x) { put_real(static_cast<double>(x)); }
    static std::string layout() { return sizeof(T) == 2 ? "h" : sizeof(T) == 4 ? "f" : "d"; }
};
template <typename T> struct ApInt : std::false_type {};
template <int W> struct ApInt<ap_int<W>> : std::true_type { enum { width = W, sign = 1 }; };
template <int W> struct ApInt<ap_uint<W>> : std::true_type { enum { width = W, sign = 0 }; };
template <typename T> struct Io<T, std::enable_if_t<ApInt<T>::value>> {
    static void get(T &x) {  // wide ones as #high,…,low words of 32 bits
        std::string w = token();
        if (w[0] != '#') { x = w[0] == '-' ? T(static_cast<ap_slong>(strtoll(w.c_str(), nullptr, 10)))
                                           : T(static_cast<ap_ulong>(strtoull(w.c_str(), nullptr, 10))); return; }
        x = 0;
        for (const char *at = w.c_str(); *at; ) {
            char *end;
            unsigned long word = strtoul(at + 1, &end, 16);
            x = (x << 32) | T(static_cast<ap_ulong>(word));
            at = end;
        }
    }
    static void put(const T &x) {
        if (ApInt<T>::width <= 64 && ApInt<T>::sign) fprintf(state().out, " %lld", static_cast<long long>(x.to_int64()));
        else if (ApInt<T>::width <= 64) fprintf(state().out, " %llu", static_cast<unsigned long long>(x.to_uint64()));
        else {
            ap_uint<(ApInt<T>::width + 31) / 32 * 32> bits = x;  // sign-extended
            fputc(' ', state().out);
            for (int hi = (ApInt<T>::width + 31) / 32 - 1; hi >= 0; hi--)
                fprintf(state().out, "%c%08x", hi == (ApInt<T>::width + 31) / 32 - 1 ? '#' : ',',
                        static_cast<unsigned>((bits >> (32 * hi)).to_uint64() & 0xffffffffu));
        }
    }
    static std::string layout() { return (ApInt<T>::sign ? "i" : "I") + std::to_string(static_cast<int>(ApInt<T>::width)); }
};
template <typename T> struct ApFixed : std::false_type {};
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> struct ApFixed<ap_fixed<W, I, Q, O, N>> : std::true_type {
    enum { width = W, integer = I, sign = 1 };
};
template <int W, int I, ap_q_mode Q, ap_o_mode O, int N> struct ApFixed<ap_ufixed<W, I, Q, O, N>> : std::true_type {
    enum { width = W, integer = I, sign = 0 };
};
template <typename T> struct Io<T, std::enable_if_t<ApFixed<T>::value>> {
    static void get(T &x) { x = strtod(token().c_str(), nullptr); }
    static void put(const T &x) { put_real(x.to_double()); }
    static std::string layout() {
        return (ApFixed<T>::sign ? "q" : "Q") + std::to_string(static_cast<int>(ApFixed<T>::width)) + "." +
               std::to_string(static_cast<int>(ApFixed<T>::integer));
    }
};
template <typename T> std::string repeated(size_t n) {
    std::string all;
    for (size_t i = 0; i < n; i++) all += (i ? " " : "") + Io<T>::layout();
    return all;
}
template <typename T, size_t N> struct Io<hls::vector<T, N>> {
    static void get(hls::vector<T, N> &x) { for (size_t i = 0; i < N; i++) Io<T>::get(x[i]); }
    static void put(const hls::vector<T, N> &x) { for (size_t i = 0; i < N; i++) Io<T>::put(x[i]); }
    static std::string layout() { return repeated<T>(N); }
};
template <typename T, size_t N> struct Io<std::array<T, N>> {
    static void get(std::array<T, N> &x) { for (T &v : x) Io<T>::get(v); }
    static void put(const std::array<T, N> &x) { for (const T &v : x) Io<T>::put(v); }
    static std::string layout() { return repeated<T>(N); }
};
template <typename T, size_t N> struct Io<T[N]> {
    static void get(T (&x)[N]) { for (size_t i = 0; i < N; i++) Io<T>::get(x[i]); }
    static void put(const T (&x)[N]) { for (size_t i = 0; i < N; i++) Io<T>::put(x[i]); }
    static std::string layout() { return repeated<T>(N); }
};
template <typename T> struct Io<std::complex<T>> {
    static void get(std::complex<T> &x) { T re, im; Io<T>::get(re); Io<T>::get(im); x = std::complex<T>(re, im); }
    static void put(const std::complex<T> &x) { Io<T>::put(x.real()); Io<T>::put(x.imag()); }
    static std::string layout() { return repeated<T>(2); }
};
template <typename T, size_t U, size_t I, size_t D, unsigned char E, bool S> struct Io<hls::axis<T, U, I, D, E, S>> {
    typedef hls::axis<T, U, I, D, E, S> Packet;
    static void get(Packet &x) { Io<T>::get(x.data); ap_uint<1> last; Io<ap_uint<1>>::get(last); x.last = last; }
    static void put(const Packet &x) { Io<T>::put(x.data); Io<ap_uint<1>>::put(x.last); }
    static std::string layout() { return Io<T>::layout() + " I1"; }
};

// Plain structs, up to ten members: how many braces fill it tells how many names take it apart.
struct Any { template <typename T> operator T() const; };
template <typename T, typename Seq, typename = void> struct Fills : std::false_type {};
template <size_t> using AnyOf = Any;
template <typename T, size_t... K>
struct Fills<T, std::index_sequence<K...>, std::void_t<decltype(T{AnyOf<K>()...})>> : std::true_type {};
template <typename T, size_t N = 10> constexpr size_t members() {
    if constexpr (N == 0 || Fills<T, std::make_index_sequence<N>>::value) return N;
    else return members<T, N - 1>();
}
template <typename T, typename F> void each(T &x, F f) {
    constexpr size_t n = members<std::remove_const_t<T>>();
    if constexpr (n == 1) { auto &[a] = x; f(a); }
    else if constexpr (n == 2) { auto &[a, b] = x; f(a), f(b); }
    else if constexpr (n == 3) { auto &[a, b, c] = x; f(a), f(b), f(c); }
    else if constexpr (n == 4) { auto &[a, b, c, d] = x; f(a), f(b), f(c), f(d); }
    else if constexpr (n == 5) { auto &[a, b, c, d, e] = x; f(a), f(b), f(c), f(d), f(e); }
    else if constexpr (n == 6) { auto &[a, b, c, d, e, g] = x; f(a), f(b), f(c), f(d), f(e), f(g); }
    else if constexpr (n == 7) { auto &[a, b, c, d, e, g, h] = x; f(a), f(b), f(c), f(d), f(e), f(g), f(h); }
    else if constexpr (n == 8) { auto &[a, b, c, d, e, g, h, i] = x; f(a), f(b), f(c), f(d), f(e), f(g), f(h), f(i); }
    else static_assert(n == 0, "dovetail: a struct port with more than eight members, or with array members");
}
struct GetEach { template <typename M> void operator()(M &m) const { Io<std::remove_cv_t<M>>::get(m); } };
struct PutEach { template <typename M> void operator()(M &m) const { Io<std::remove_cv_t<M>>::put(m); } };
struct LayoutEach {
    std::string *all;
    template <typename M> void operator()(M &) const { *all += (all->empty() ? "" : " ") + Io<std::remove_cv_t<M>>::layout(); }
};
template <typename T> struct Io<T, std::enable_if_t<std::is_aggregate<T>::value && std::is_class<T>::value>> {
    static void get(T &x) { each(x, GetEach()); }
    static void put(const T &x) { each(x, PutEach()); }
    static std::string layout() { std::string all; T x{}; each(x, LayoutEach{&all}); return all; }
};

// Storage of exactly as many elements as the contract says, so that one more is out of bounds.
template <typename T> struct Buffer {
    typedef T Element;
    static char kind() { return 'A'; }
    T *data;
    long size;
    void fill(const char *) {
        size = count();
        data = static_cast<T *>(operator new[](sizeof(T) * size));
        for (long i = 0; i < size; i++) Io<T>::get(*new (data + i) T());
    }
    void put(int port) const {
        fprintf(state().out, "out %d", port);
        for (long i = 0; i < size; i++) Io<T>::put(data[i]);
        fputc('\n', state().out);
    }
    template <typename U> operator U *() const { return reinterpret_cast<U *>(data); }
    template <typename A, std::enable_if_t<std::is_array<A>::value, int> = 0> operator A &() const { return *reinterpret_cast<A *>(data); }
    operator hls::burst_maxi<T>() const { return hls::burst_maxi<T>(data); }
};
template <typename T> struct Place {  // one element, taken as a value or as a reference
    typedef T Element;
    static char kind() { return 'P'; }
    T *at;
    void fill(const char *) { count(); at = new T(); Io<T>::get(*at); }
    void put(int port) const { fprintf(state().out, "out %d", port); Io<T>::put(*at); fputc('\n', state().out); }
    operator T &() const { return *at; }
};
template <typename S> struct Stream;
template <typename T, int D> struct Stream<hls::stream<T, D>> {
    typedef T Element;
    static char kind() { return 'S'; }
    hls::stream<T, D> *queue;
    void fill(const char *name) {
        queue = new hls::stream<T, D>(name);
        queue->outside();
        queue->limit(0);
        for (long i = count(); i > 0; i--) { T x; Io<T>::get(x); queue->write(x); }
    }
    void put(int port) const {
        fprintf(state().out, "out %d", port);
        while (!queue->empty()) Io<T>::put(queue->read());
        fputc('\n', state().out);
    }
    operator hls::stream<T, D> &() const { return *queue; }
    operator hls::stream<T, D> *() const { return queue; }
};
template <typename T, bool MANY> struct Held { typedef std::conditional_t<MANY, Buffer<T>, Place<T>> type; };
template <typename T, size_t N, bool MANY> struct Held<T[N], MANY> { typedef Buffer<std::remove_all_extents_t<T>> type; };
template <typename T, int D> struct Held<hls::stream<T, D>, false> { typedef Stream<hls::stream<T, D>> type; };
template <typename T, int D> struct Held<hls::stream<T, D>, true> { typedef Stream<hls::stream<T, D>> type; };
template <typename T, bool MANY> struct Held<hls::burst_maxi<T>, MANY> { typedef Buffer<T> type; };
template <typename T, bool MANY> using Port = typename Held<std::remove_cv_t<T>, MANY>::type;
template <typename T> void put_value(const T &x) { fputs("out -1", state().out); Io<std::remove_cv_t<T>>::put(x); fputc('\n', state().out); }
// Elements: 0 when the text says nothing about how many there are.
template <typename P> void describe(int port, long elements) {
    printf("port %d %c %ld %s\n", port, P::kind(), elements, Io<std::remove_cv_t<typename P::Element>>::layout().c_str());
}
template <typename T> long elements_of() { return std::is_array<T>::value ? sizeof(T) / sizeof(std::remove_all_extents_t<T>) : 0; }

inline void begin() { state().counting = true; }
inline void end() { state().counting = false; }
int main_of(int argc, char **argv, void (*test)(long calls), void (*shape)());
}  // namespace dovetail
#endif
