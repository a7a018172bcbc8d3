// Dovetail's stand-in for hls_math.h: the C library in double, rounded to the argument's type.
//
// The vendor's fixed-point versions differ from these in the last bit or two: compare such outputs with a tolerance.
#ifndef DOVETAIL_HLS_MATH_H
#define DOVETAIL_HLS_MATH_H
#include <cmath>
#include <cstdint>
#include <type_traits>
#include <ap_fixed.h>
#include <ap_int.h>

namespace hls {
namespace detail {
template <typename T, typename = void> struct wide { static double of(const T &x) { return x.to_double(); } };
template <typename T> struct wide<T, std::enable_if_t<std::is_arithmetic<T>::value>> {
    static double of(const T &x) { return static_cast<double>(x); }
};
template <typename T> struct result { typedef T type; };
template <int W> struct result<ap_int<W>> { typedef ap_int<W> type; };
}  // namespace detail

#define DOVETAIL_UNARY(name)                                                             \
    inline float name(float x) { return std::name(x); }                                   \
    inline double name(double x) { return std::name(x); }                                 \
    template <typename T, std::enable_if_t<std::is_integral<T>::value, int> = 0>          \
    double name(T x) { return std::name(static_cast<double>(x)); }                        \
    template <typename T, std::enable_if_t<!std::is_arithmetic<T>::value, int> = 0>       \
    T name(const T &x) { return T(std::name(detail::wide<T>::of(x))); }
DOVETAIL_UNARY(exp) DOVETAIL_UNARY(exp2) DOVETAIL_UNARY(expm1) DOVETAIL_UNARY(log) DOVETAIL_UNARY(log2)
DOVETAIL_UNARY(log10) DOVETAIL_UNARY(log1p) DOVETAIL_UNARY(sqrt) DOVETAIL_UNARY(cbrt) DOVETAIL_UNARY(sin)
DOVETAIL_UNARY(cos) DOVETAIL_UNARY(tan) DOVETAIL_UNARY(asin) DOVETAIL_UNARY(acos) DOVETAIL_UNARY(atan)
DOVETAIL_UNARY(sinh) DOVETAIL_UNARY(cosh) DOVETAIL_UNARY(tanh) DOVETAIL_UNARY(asinh) DOVETAIL_UNARY(acosh)
DOVETAIL_UNARY(atanh) DOVETAIL_UNARY(erf) DOVETAIL_UNARY(erfc) DOVETAIL_UNARY(tgamma) DOVETAIL_UNARY(lgamma)
DOVETAIL_UNARY(floor) DOVETAIL_UNARY(ceil) DOVETAIL_UNARY(round) DOVETAIL_UNARY(rint) DOVETAIL_UNARY(trunc)
DOVETAIL_UNARY(fabs)
#undef DOVETAIL_UNARY

#define DOVETAIL_BINARY(name)                                                            \
    inline float name(float x, float y) { return std::name(x, y); }                       \
    inline double name(double x, double y) { return std::name(x, y); }                    \
    template <typename T> T name(const T &x, const T &y) {                                \
        return T(std::name(detail::wide<T>::of(x), detail::wide<T>::of(y)));              \
    }
DOVETAIL_BINARY(pow) DOVETAIL_BINARY(fmod) DOVETAIL_BINARY(remainder) DOVETAIL_BINARY(atan2) DOVETAIL_BINARY(hypot)
DOVETAIL_BINARY(fmax) DOVETAIL_BINARY(fmin) DOVETAIL_BINARY(fdim) DOVETAIL_BINARY(copysign)
#undef DOVETAIL_BINARY

template <typename T> T abs(const T &x) { return x < T(0) ? T(-x) : x; }
template <typename T> T max(const T &x, const T &y) { return x < y ? y : x; }
template <typename T> T min(const T &x, const T &y) { return y < x ? y : x; }
template <typename T> T rsqrt(const T &x) { return T(1.0 / std::sqrt(detail::wide<T>::of(x))); }
template <typename T> T recip(const T &x) { return T(1.0 / detail::wide<T>::of(x)); }
template <typename T> T divide(const T &x, const T &y) { return T(detail::wide<T>::of(x) / detail::wide<T>::of(y)); }
template <typename T> T sinpi(const T &x) { return T(std::sin(M_PI * detail::wide<T>::of(x))); }
template <typename T> T cospi(const T &x) { return T(std::cos(M_PI * detail::wide<T>::of(x))); }
template <typename T> void sincos(const T &x, T *s, T *c) { *s = sin(x); *c = cos(x); }
inline int isnan(double x) { return std::isnan(x); }
inline int isinf(double x) { return std::isinf(x); }
inline float expf(float x) { return std::exp(x); }
inline float logf(float x) { return std::log(x); }
inline float sqrtf(float x) { return std::sqrt(x); }
inline float powf(float x, float y) { return std::pow(x, y); }
inline float sinf(float x) { return std::sin(x); }
inline float cosf(float x) { return std::cos(x); }
inline float tanhf(float x) { return std::tanh(x); }
inline float fabsf(float x) { return std::fabs(x); }
inline float floorf(float x) { return std::floor(x); }
}  // namespace hls
#endif
