// Dovetail's stand-in for hls::vector: N elements, element-wise arithmetic.
#ifndef DOVETAIL_HLS_VECTOR_H
#define DOVETAIL_HLS_VECTOR_H
#include <array>
#include <cstddef>
#include <initializer_list>

namespace hls {
template <typename T, size_t N> class vector {
  public:
    typedef T value_type;
    vector() : data_() {}
    vector(const T &value) { data_.fill(value); }
    vector(std::initializer_list<T> values) : data_() { size_t i = 0; for (const T &v : values) data_[i++] = v; }
    T &operator[](size_t i) { return data_[i]; }
    const T &operator[](size_t i) const { return data_[i]; }
    static constexpr size_t size() { return N; }
    T *begin() { return data_.begin(); }
    T *end() { return data_.end(); }
    const T *begin() const { return data_.begin(); }
    const T *end() const { return data_.end(); }
    T reduce_add() const { T sum = T(0); for (const T &v : data_) sum += v; return sum; }
    T reduce_mult() const { T product = T(1); for (const T &v : data_) product *= v; return product; }
#define DOVETAIL_EACH(op)                                                                              \
    vector &operator op##=(const vector &b) { for (size_t i = 0; i < N; i++) data_[i] op##= b[i]; return *this; } \
    friend vector operator op(vector a, const vector &b) { a op##= b; return a; }
    DOVETAIL_EACH(+) DOVETAIL_EACH(-) DOVETAIL_EACH(*) DOVETAIL_EACH(/)
#undef DOVETAIL_EACH
    friend bool operator==(const vector &a, const vector &b) { return a.data_ == b.data_; }
    friend bool operator!=(const vector &a, const vector &b) { return !(a == b); }

  private:
    std::array<T, N> data_;
};
}  // namespace hls
#endif
