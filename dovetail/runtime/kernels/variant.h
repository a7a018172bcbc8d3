// What the files that are compiled for one instruction set have of each other, in a namespace of its name: their
// functions must not be taken for those of another.
#pragma once
#include "kernels.h"

namespace dovetail {
namespace DOVETAIL_VARIANT {

void product(const Matrix&, const Tokens&, float* y, int64_t begin, int64_t end);
void quantise(const Matrix&, const float* x, int64_t begin, int64_t end, bool per_token, const Rounded& out);
void gate(const float* pair, int64_t width, float* out);
float exponentials(const float* x, int64_t count, float most);
void norm(const float* x, const float* weight, float epsilon, int64_t width, float* out);
void turn(float* x, int64_t heads, int64_t channels, const float* cosines, const float* sines);
void dense(const Floating&, const float* x, int64_t tokens, float* y, int64_t begin, int64_t end);
void halves(const uint8_t* from, int64_t count, float* out);  // of bf16
void unpack_group(const Attending& a, const uint8_t* from, float* keys, float* values);
void exponentiate(float* scores, int64_t count, float most, float least);  // to e^(score - most); to 0 those below `least`
void scale(const float* x, int64_t count, float by, float* out);
void attend(const Attending&, const Piece&, float* scratch);

}  // namespace DOVETAIL_VARIANT
}  // namespace dovetail
