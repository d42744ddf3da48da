#include "objectives/presence.h"

#include "kernels/presence.h"

namespace triptych::objectives {

Tensor present_samples(const Fields& fields, std::span<const std::string> needs) {
  Tensor present;
  for (const std::string& name : needs) {
    const Tensor one = fields[name].contiguous();
    if (!present.defined()) {
      present = one;
      continue;
    }
    const Tensor both = Tensor::empty(one.device(), DType::kUInt8, one.shape());
    both_present(one.device().stream(), present.data<uint8_t>(), one.data<uint8_t>(), both.data<uint8_t>(),
                 one.num_elements());
    present = both;
  }
  return present;
}

Tensor targets_of_present_samples(const Fields& fields, const std::string& field, std::span<const std::string> needs) {
  const Tensor targets = fields[field].contiguous(), present = present_samples(fields, needs);
  if (!present.defined()) return targets;
  const int64_t num_samples = present.num_elements();
  TRIPTYCH_CHECK(targets.size(0) == num_samples, "targets {} of {} samples", targets.shape().to_string(), num_samples);
  Tensor result = Tensor::empty(targets.device(), DType::kInt32, targets.shape());
  if (num_samples == 0) return result;
  targets_of_present(targets.device().stream(), targets.data<int32_t>(), present.data<uint8_t>(), num_samples,
                     targets.num_elements() / num_samples, result.data<int32_t>());
  return result;
}

}  // namespace triptych::objectives
