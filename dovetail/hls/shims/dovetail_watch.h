// What the watched arbitrary-precision types call. Weak: without a harness nothing is told.
#ifndef DOVETAIL_WATCH_H
#define DOVETAIL_WATCH_H
extern "C" __attribute__((weak)) void dovetail_overflow();
extern "C" __attribute__((weak)) void dovetail_shift(long amount, int width);

static inline __attribute__((always_inline)) void dovetail_wraps() {
    if (dovetail_overflow) dovetail_overflow();
}
static inline __attribute__((always_inline)) void dovetail_shifts(long amount, int width) {
    if ((amount < 0 || amount >= width) && dovetail_shift) dovetail_shift(amount, width);
}
// The compiler fills with 0xFE bytes: -2/256 of the range of an ap_fixed, 0 of one bit. This is 0.85 of it, and 1.
template <typename T> inline __attribute__((always_inline)) void dovetail_refill(T &x) {
    if (x == static_cast<T>(0xFEFEFEFEFEFEFEFEull)) x = static_cast<T>(0x6D6D6D6D6D6D6D6Dull);
}
#endif
