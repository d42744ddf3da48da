#include "kernels/normalize.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/normalize.cpp"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void l2_normalize_forward_rows(const L2NormalizeForwardArgs& args, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    const float* x = args.x + row * args.cols;
    float* y = args.y + row * args.cols;
    const double squares = dot_in_double(x, x, args.cols);
    const double norm = std::sqrt(squares);
    const auto inv_norm = static_cast<float>(1.0 / (norm < kMinNorm ? static_cast<double>(kMinNorm) : norm));
    const Vec scale = hn::Set(kFloats, inv_norm);
    for_vectors(args.cols,
                [&](int64_t i, auto part) HWY_ATTR { store(hn::Mul(scale, load(x + i, part)), y + i, part); });
    args.inv_norm[row] = inv_norm;
  }
}

void l2_normalize_backward_rows(const L2NormalizeBackwardArgs& args, int64_t begin, int64_t end) {
  constexpr float kMaxInvNorm = 1.0f / kMinNorm;
  for (int64_t row = begin; row < end; ++row) {
    const float* dy = args.dy + row * args.cols;
    const float* y = args.y + row * args.cols;
    float* dx = args.dx + row * args.cols;
    const float inv_norm = args.inv_norm[row];
    const auto projection = inv_norm >= kMaxInvNorm ? 0.0f : static_cast<float>(dot_in_double(y, dy, args.cols));
    const Vec scale = hn::Set(kFloats, inv_norm);
    const Vec along = hn::Set(kFloats, projection);
    for_vectors(args.cols, [&](int64_t i, auto part) HWY_ATTR {
      store(hn::Mul(scale, hn::NegMulAdd(along, load(y + i, part), load(dy + i, part))), dx + i, part);
    });
  }
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(l2_normalize_forward_rows);
HWY_EXPORT(l2_normalize_backward_rows);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void l2_normalize_forward(Stream& stream, const L2NormalizeForwardArgs& args) {
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(l2_normalize_forward_rows)(args, begin, end);
  });
}

void l2_normalize_backward(Stream& stream, const L2NormalizeBackwardArgs& args) {
  parallel_ranges(stream, args.rows, grain_rows(args.cols), [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(l2_normalize_backward_rows)(args, begin, end);
  });
}

}  // namespace triptych::kernels
#endif
