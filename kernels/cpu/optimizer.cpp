#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/checked.h"
#include "kernels/cpu/parallel.h"
#include "kernels/update_decision.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer.cpp"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

/// The factors of one update, the same for every element.
struct AdamWFactors {
  float one_minus_beta1, one_minus_beta2;
  float step_size;         // lr / (1 - beta1^num_updates)
  float inv_root_correct;  // 1 / sqrt(1 - beta2^num_updates)
  float decay;             // 1 - lr * weight_decay
};

template <bool kCopy>
void adamw_typed(const AdamWArgs& args, const AdamWTensor& tensor, const AdamWFactors& factors, int64_t begin,
                 int64_t end) {
  const Vec grad_scale = hn::Set(kFloats, args.state->gradient_factor), eps = hn::Set(kFloats, args.eps);
  const Vec beta1 = hn::Set(kFloats, args.beta1), beta2 = hn::Set(kFloats, args.beta2);
  const Vec rest1 = hn::Set(kFloats, factors.one_minus_beta1), rest2 = hn::Set(kFloats, factors.one_minus_beta2);
  const Vec step_size = hn::Set(kFloats, factors.step_size), decay = hn::Set(kFloats, factors.decay);
  const Vec inv_root_correct = hn::Set(kFloats, factors.inv_root_correct);
  const Vec maximum = hn::Set(kFloats, tensor.maximum);
  BFloat16* const copy = static_cast<BFloat16*>(tensor.copy);
  for_vectors(end - begin, [&](int64_t j, auto part) HWY_ATTR {
    const int64_t i = begin + j;
    const Vec g = hn::Mul(load(tensor.grad + i, part), grad_scale);
    const Vec m = hn::MulAdd(beta1, load(tensor.m + i, part), hn::Mul(rest1, g));
    const Vec v = hn::MulAdd(beta2, load(tensor.v + i, part), hn::Mul(hn::Mul(rest2, g), g));
    const Vec root = hn::MulAdd(hn::Sqrt(v), inv_root_correct, eps);
    const Vec updated = hn::MulSub(decay, load(tensor.master + i, part), hn::Mul(step_size, hn::Div(m, root)));
    const Vec master = hn::IfThenElse(hn::Gt(updated, maximum), maximum, updated);
    store(m, tensor.m + i, part);
    store(v, tensor.v + i, part);
    store(master, tensor.master + i, part);
    if constexpr (kCopy) store(master, copy + i, part);
  });
}

void adamw_range(const AdamWArgs& args, const AdamWTensor& tensor, int64_t begin, int64_t end) {
  const double beta1 = static_cast<double>(args.beta1), beta2 = static_cast<double>(args.beta2);
  const auto step = static_cast<double>(args.state->num_updates);
  const AdamWFactors factors{
      static_cast<float>(1.0 - beta1), static_cast<float>(1.0 - beta2),
      static_cast<float>(static_cast<double>(args.lr) / (1.0 - std::pow(beta1, step))),
      static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, step))),
      static_cast<float>(1.0 - static_cast<double>(args.lr) * static_cast<double>(tensor.weight_decay))};
  if (tensor.copy != nullptr) {
    adamw_typed<true>(args, tensor, factors, begin, end);
  } else {
    adamw_typed<false>(args, tensor, factors, begin, end);
  }
}

double sum_of_squares_block(const float* x, int64_t n) {
  return dot_in_double(x, x, n);
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(adamw_range);
HWY_EXPORT(sum_of_squares_block);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void sum_of_squares(Stream& stream, std::span<const FloatSpan> tensors, double* sum) {
  constexpr int64_t kBlock = 65536;
  double total = 0.0;
  for (const FloatSpan& tensor : tensors) {
    if (tensor.n <= 0) continue;
    const int64_t num_blocks = ceil_div(tensor.n, kBlock);
    auto* const sums = reinterpret_cast<double*>(stream.scratch(static_cast<std::size_t>(num_blocks) * sizeof(double)));
    parallel_ranges(stream, num_blocks, 1, [&](int64_t first, int64_t last) {
      for (int64_t block = first; block < last; ++block) {
        const int64_t begin = block * kBlock;
        sums[block] =
            HWY_DYNAMIC_DISPATCH(sum_of_squares_block)(tensor.data + begin, std::min(kBlock, tensor.n - begin));
      }
    });
    total += std::accumulate(sums, sums + num_blocks, 0.0);
  }
  *sum = total;
}

void decide_update(Stream&, const DecideUpdateArgs& args) {
  *args.norm = std::sqrt(*args.squared_norm) / static_cast<double>(args.state->loss_scale);
  *args.state = decided_update(*args.state, *args.loss, *args.norm, args);
}

void adamw(Stream& stream, const AdamWArgs& args) {
  if (args.state->apply == 0) return;
  TRIPTYCH_CHECK(args.state->num_updates >= 1, "Updates count from 1, found {}.", args.state->num_updates);
  for (const AdamWTensor& tensor : args.tensors) {
    TRIPTYCH_CHECK(tensor.copy == nullptr || tensor.copy_dtype == DType::kBFloat16,
                   "adamw has no CPU implementation for copies of {}.", dtype_name(tensor.copy_dtype));
    parallel_ranges(stream, tensor.n, kGrainElements, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(adamw_range)(args, tensor, begin, end);
    });
  }
}

}  // namespace triptych::kernels
#endif
