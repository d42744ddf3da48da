#include "kernels/optimizer.h"

#include <algorithm>
#include <cmath>

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/optimizer.cpp"
#include "kernels/cpu/dot.h"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::cpu::HWY_NAMESPACE {

/// The factors of one update, the same for every element.
struct AdamWFactors {
  float one_minus_beta1, one_minus_beta2;
  float step_size;         // lr / (1 - beta1^step)
  float inv_root_correct;  // 1 / sqrt(1 - beta2^step)
  float decay;             // 1 - lr * weight_decay
};

template <bool kCopy>
void adamw_typed(const AdamWArgs& args, const AdamWFactors& factors, int64_t begin, int64_t end) {
  const Vec grad_scale = hn::Set(kFloats, args.grad_scale), eps = hn::Set(kFloats, args.eps);
  const Vec beta1 = hn::Set(kFloats, args.beta1), beta2 = hn::Set(kFloats, args.beta2);
  const Vec rest1 = hn::Set(kFloats, factors.one_minus_beta1), rest2 = hn::Set(kFloats, factors.one_minus_beta2);
  const Vec step_size = hn::Set(kFloats, factors.step_size), decay = hn::Set(kFloats, factors.decay);
  const Vec inv_root_correct = hn::Set(kFloats, factors.inv_root_correct);
  for_vectors(end - begin, [&](int64_t j, auto part) HWY_ATTR {
    const int64_t i = begin + j;
    const Vec g = hn::Mul(load(args.grad + i, part), grad_scale);
    const Vec m = hn::MulAdd(beta1, load(args.m + i, part), hn::Mul(rest1, g));
    const Vec v = hn::MulAdd(beta2, load(args.v + i, part), hn::Mul(hn::Mul(rest2, g), g));
    const Vec root = hn::MulAdd(hn::Sqrt(v), inv_root_correct, eps);
    const Vec master = hn::MulSub(decay, load(args.master + i, part), hn::Mul(step_size, hn::Div(m, root)));
    store(m, args.m + i, part);
    store(v, args.v + i, part);
    store(master, args.master + i, part);
    if constexpr (kCopy) store(master, args.bf16_copy + i, part);
  });
}

void adamw_range(const AdamWArgs& args, int64_t begin, int64_t end) {
  const double beta1 = static_cast<double>(args.beta1), beta2 = static_cast<double>(args.beta2);
  const auto step = static_cast<double>(args.step);
  const AdamWFactors factors{
      static_cast<float>(1.0 - beta1), static_cast<float>(1.0 - beta2),
      static_cast<float>(static_cast<double>(args.lr) / (1.0 - std::pow(beta1, step))),
      static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(beta2, step))),
      static_cast<float>(1.0 - static_cast<double>(args.lr) * static_cast<double>(args.weight_decay))};
  if (args.bf16_copy != nullptr) {
    adamw_typed<true>(args, factors, begin, end);
  } else {
    adamw_typed<false>(args, factors, begin, end);
  }
}

double sum_of_squares_block(const float* x, int64_t n) {
  return dot_in_double(x, x, n);
}

}  // namespace triptych::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::cpu {
HWY_EXPORT(adamw_range);
HWY_EXPORT(sum_of_squares_block);
}  // namespace triptych::cpu

namespace triptych {

using namespace cpu;

void adamw(Stream& stream, const AdamWArgs& args) {
  TRIPTYCH_CHECK(args.step >= 1, "Updates count from 1, found {}.", args.step);
  parallel_ranges(stream, args.n, kGrainElements, [&](int64_t begin, int64_t end) {
    HWY_DYNAMIC_DISPATCH(adamw_range)(args, begin, end);
  });
}

double sum_of_squares(Stream& stream, const float* x, int64_t n) {
  if (n <= 0) return 0.0;
  constexpr int64_t kBlock = 65536;
  const int64_t num_blocks = (n + kBlock - 1) / kBlock;
  auto* sums = reinterpret_cast<double*>(stream.scratch(static_cast<std::size_t>(num_blocks) * sizeof(double)));
  parallel_ranges(stream, num_blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t block = first; block < last; ++block) {
      const int64_t begin = block * kBlock;
      sums[block] = HWY_DYNAMIC_DISPATCH(sum_of_squares_block)(x + begin, std::min(kBlock, n - begin));
    }
  });
  double sum = 0.0;
  for (int64_t block = 0; block < num_blocks; ++block) sum += sums[block];
  return sum;
}

}  // namespace triptych
#endif
