// What the doors of the library call of each other. Exceptions do not cross into Python: `guarded` turns them into
// numbers.
#pragma once
#include <cstdint>
#include <new>

#include "kernels.h"

#define DOOR __attribute__((visibility("default")))

namespace dovetail {

// y [tokens][rows] = x [tokens][columns] times the matrix transposed; `how` as in products.cpp.
void product(const Matrix& m, const Variant& with, const float* x, int64_t tokens, float* y, int how, int threads);
void dense(const Floating& m, const Variant& with, const float* x, int64_t tokens, float* y, int threads);

// out [token][width] = silu(pairs [token][0 … width)) * pairs [token][width … 2 width).
void gate(const Variant& with, const float* pairs, int64_t tokens, int64_t width, float* out, int threads);

// New keys and values behind those held, then attention. Throws `std::bad_alloc`.
void attend(const Attending& a, const Variant& with, int threads);

// 0, or 1 when memory ran out, 2 when no thread could be started.
template <typename Work> int guarded(Work work) {
    try {
        work();
    } catch (const std::bad_alloc&) {
        return 1;
    } catch (...) {
        return 2;
    }
    return 0;
}

}  // namespace dovetail
