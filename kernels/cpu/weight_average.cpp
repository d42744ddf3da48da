#include "kernels/weight_average.h"

#include "kernels/cpu/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/cpu/weight_average.cpp"
#include "kernels/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace triptych::kernels::cpu::HWY_NAMESPACE {

void average_range(const AverageTensor& tensor, float rest, int64_t begin, int64_t end) {
  const Vec share = hn::Set(kFloats, rest);
  for_vectors(end - begin, [&](int64_t j, auto part) HWY_ATTR {
    const int64_t i = begin + j;
    const Vec average = load(tensor.average + i, part);
    const Vec difference = hn::Sub(load(tensor.value + i, part), average);
    store(hn::MulAdd(share, difference, average), tensor.average + i, part);
  });
}

}  // namespace triptych::kernels::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace triptych::kernels::cpu {
HWY_EXPORT(average_range);
}  // namespace triptych::kernels::cpu

namespace triptych::kernels {

using namespace cpu;

void update_averages(Stream& stream, const WeightAverageArgs& args) {
  if (args.state->apply == 0) return;
  const auto rest = static_cast<float>(1 - args.decay);
  for (const AverageTensor& tensor : args.tensors) {
    parallel_ranges(stream, tensor.n, kGrainElements, [&](int64_t begin, int64_t end) {
      HWY_DYNAMIC_DISPATCH(average_range)(tensor, rest, begin, end);
    });
  }
}

}  // namespace triptych::kernels
#endif
