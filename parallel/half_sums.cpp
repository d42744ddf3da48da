#include "parallel/half_sums.h"

#include <utility>

#include "base/checked.h"
#include "kernels/elementwise.h"
#include "kernels/strided.h"

namespace triptych::parallel {

void sum_summands(const Tensor& summands, void* to, DType dtype) {
  const int64_t dims[] = {summands.size(1), summands.size(0)}, strides[] = {1, summands.size(1)};
  sum_strided(summands.device().stream(), {.x = summands.raw(),
                                           .dims = dims,
                                           .strides = strides,
                                           .num_kept = 1,
                                           .out = to,
                                           .dtype = summands.dtype(),
                                           .out_dtype = dtype});
}

HalfSums::HalfSums(const Tensor& local, Group& group, DType sums, MemoryPart part)
    : group_(&group),
      sums_dtype_(sums),
      part_(part),
      has_crossed_(group.size() == 2),
      sent_(local),
      count_(local.num_elements()) {
  Device& device = local.device();
  if (has_crossed_) {  // the whole of the other's is no more than a half of both and a half of the sum
    received_ = Tensor::empty(device, local.dtype(), Shape{2, count_}, part);
    pending_ = group.all_gather(sent_.raw(), received_.raw(), count_, local.dtype());
    return;
  }
  const int64_t piece = ceil_div(count_, group.size());
  if (piece * group.size() != count_) {
    sent_ = Tensor::zeros(device, local.dtype(), Shape{piece * group.size()}, part);
    sent_.slice(0, 0, count_).copy_from(local.view(Shape{count_}));
  }
  received_ = Tensor::empty(device, local.dtype(), Shape{group.size(), piece}, part);
  pending_ = group.all_to_all(sent_.raw(), received_.raw(), piece, local.dtype());
}

void HalfSums::cross() {
  if (std::exchange(has_crossed_, true)) return;
  pending_->wait();
  const int64_t piece = received_.size(1);
  sent_ = Tensor::empty(received_.device(), sums_dtype_, Shape{piece}, part_);
  sum_summands(received_, sent_.raw(), sums_dtype_);
  received_ = Tensor::empty(received_.device(), sums_dtype_, Shape{piece * group_->size()}, part_);
  pending_ = group_->all_gather(sent_.raw(), received_.raw(), piece, sums_dtype_);
}

bool HalfSums::test() {
  return has_crossed_ && pending_->test();
}

void HalfSums::finish(void* to, DType dtype) {
  cross();
  pending_->wait();
  if (group_->size() == 2) {
    sum_summands(received_, to, dtype);
  } else if (dtype == sums_dtype_) {
    received_.device().copy(to, received_.raw(), static_cast<std::size_t>(count_) * dtype_bytes(dtype));
  } else {
    cast(received_.device().stream(), received_.raw(), sums_dtype_, to, dtype, count_);
  }
  sent_ = received_ = Tensor();
}

}  // namespace triptych::parallel
