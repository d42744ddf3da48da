#include "ops/views.h"

#include "kernels/elementwise.h"
#include "kernels/strided.h"

namespace triptych::ops {
namespace {

SumStridedArgs sum_of(const StridedView& view, int num_kept) {
  return {.x = view.tensor.raw(),
          .dims = view.dims,
          .strides = view.strides,
          .num_kept = num_kept,
          .dtype = view.tensor.dtype()};
}

}  // namespace

StridedView permuted(const Tensor& x, std::span<const int> order) {
  StridedView view{x, {}, {}};
  for (const int dim : order) {
    view.dims.push_back(x.size(dim));
    view.strides.push_back(x.stride(dim));
  }
  return view;
}

StridedView repeated(const Tensor& x, const Shape& shape) {
  const int num_further = shape.rank() - x.shape().rank();
  StridedView view{x, shape.to_vector(), std::vector<int64_t>(static_cast<std::size_t>(num_further), 0)};
  for (int dim = 0; dim < x.shape().rank(); ++dim) view.strides.push_back(x.stride(dim));
  return view;
}

Tensor packed(const StridedView& view) {
  const Tensor result = Tensor::empty(view.tensor.device(), view.tensor.dtype(), Shape(view.dims));
  std::vector<int64_t> strides(view.dims.size());
  for (int dim = 0; dim < result.shape().rank(); ++dim) strides[static_cast<std::size_t>(dim)] = result.stride(dim);
  copy_strided(result.device().stream(), {.src = view.tensor.raw(),
                                          .dst = result.raw(),
                                          .dims = view.dims,
                                          .src_strides = view.strides,
                                          .dst_strides = strides,
                                          .element_bytes = static_cast<int64_t>(dtype_bytes(result.dtype()))});
  return result;
}

Tensor sum_last(const StridedView& view, int num_kept, float factor) {
  const Shape kept(std::span(view.dims).first(static_cast<std::size_t>(num_kept)));
  const Tensor result = Tensor::empty(view.tensor.device(), view.tensor.dtype(), kept);
  SumStridedArgs args = sum_of(view, num_kept);
  args.out = result.raw();
  args.out_dtype = result.dtype();
  args.factor = factor;
  sum_strided(result.device().stream(), args);
  return result;
}

void add_sum_last(const StridedView& view, int num_kept, const Layout& layout, int input, InputGradients& in) {
  if (!in.needed(input)) return;
  const GradientTarget target = in.target(input, view.tensor.device(), layout);
  SumStridedArgs args = sum_of(view, num_kept);
  args.out = target.tensor.raw();
  args.assign = target.assign;
  sum_strided(view.tensor.device().stream(), args);
}

}  // namespace triptych::ops
