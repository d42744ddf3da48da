#include "ops/trailing.h"

#include <array>
#include <numeric>

namespace triptych::ops {
namespace {

// By b's number of dims, of which a has more.
constexpr std::array<std::string_view, Shape::kMaxRank> kBroadcast{
    "...,->...",          "...a,a->...a",          "...ab,ab->...ab",
    "...abc,abc->...abc", "...abcd,abcd->...abcd", "...abcde,abcde->...abcde"};

}  // namespace

IndexRule::Applied trailing_rule(std::string_view name, const Variable& a, const Variable& b, bool linear) {
  const int a_rank = a.global_shape().rank(), b_rank = b.global_shape().rank();
  TRIPTYCH_CHECK(a_rank >= b_rank, "{}: the second operand is {}, the first {}", name, b.global_shape().to_string(),
                 a.global_shape().to_string());
  if (a_rank == b_rank) return IndexRule(name, linear ? "+...,+...->..." : "...,...->...").apply({&a, &b});
  for (const Axis axis : kAxes) {
    if (linear && a.layout()[axis].is_partial()) {
      throw LayoutError(axis_name(axis), fmt::format("{}: the first operand is Partial, so the second, which is "
                                                     "broadcast, would count on every rank. Redistribute the first",
                                                     name));
    }
  }
  return IndexRule(name, kBroadcast[static_cast<std::size_t>(b_rank)]).apply({&a, &b});
}

Tensor combine(BinaryKernel kernel, const Tensor& a, const Tensor& b) {
  const Tensor result = Tensor::empty(a.device(), a.dtype(), a.shape());
  const StridedView a_view = repeated(a, a.shape()), b_view = repeated(b, a.shape());
  kernel(a.device().stream(), {.a = a.raw(),
                               .b = b.raw(),
                               .out = result.raw(),
                               .dims = a_view.dims,
                               .a_strides = a_view.strides,
                               .b_strides = b_view.strides,
                               .dtype = a.dtype()});
  return result;
}

void add_trailing_gradient(const Tensor& summands, int b_rank, DType b_dtype, const Layout& layout,
                           InputGradients& in) {
  const int num_further = summands.shape().rank() - b_rank;
  if (num_further == 0) return in.add(1, summands.to(b_dtype), layout);
  std::vector<int> order(static_cast<std::size_t>(summands.shape().rank()));
  std::iota(order.begin(), order.begin() + b_rank, num_further);
  std::iota(order.begin() + b_rank, order.end(), 0);
  add_sum_last(permuted(summands, order), b_rank, layout, 1, in);
}

}  // namespace triptych::ops
