#pragma once

#include <span>
#include <vector>

#include "autograd/record.h"

namespace triptych::ops {

// What the plain operations share: elements of a tensor in another order, or repeated.

/// A tensor's elements under dims and strides of the view's own, in elements; a stride of 0 repeats. The dims are
/// local.
struct StridedView {
  Tensor tensor;
  std::vector<int64_t> dims, strides;
};

/// Dim i of the view is dim order[i] of x. All dims once.
StridedView permuted(const Tensor& x, std::span<const int> order);
/// x of shape `shape` [F..., X...], the same in every F.
StridedView repeated(const Tensor& x, const Shape& shape);

/// The view's elements in memory of their own, contiguous.
Tensor packed(const StridedView& view);
/// factor * (the sum over all dims but the first `num_kept`), of the view's dtype, rounded once.
Tensor sum_last(const StridedView& view, int num_kept, float factor);
/// Adds the sum over all dims but those of the input, the first `num_kept`, to its gradient, in float32.
void add_sum_last(const StridedView& view, int num_kept, const Layout& layout, int input, InputGradients& in);

}  // namespace triptych::ops
