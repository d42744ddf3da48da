#include "ops/sum.h"

#include "kernels/elementwise.h"
#include "ops/index_rule.h"
#include "ops/letters.h"
#include "ops/views.h"

namespace triptych::ops {
namespace {

// The dims that stay, and then those that are summed.
struct Split {
  std::vector<int> order;
  int num_kept;
};

Split split(std::string_view name, const Shape& shape, const std::vector<int>& dims) {
  std::vector<bool> summed(static_cast<std::size_t>(shape.rank()), false);
  for (const int dim : dims) {
    const bool is_new = dim >= 0 && dim < shape.rank() && !summed[static_cast<std::size_t>(dim)];
    TRIPTYCH_CHECK(is_new, "{}: over dim {} of {}, each once", name, dim, shape.to_string());
    summed[static_cast<std::size_t>(dim)] = true;
  }
  Split result{{}, shape.rank() - static_cast<int>(dims.size())};
  for (const bool want : {false, true}) {
    for (int dim = 0; dim < shape.rank(); ++dim) {
      if (summed[static_cast<std::size_t>(dim)] == want) result.order.push_back(dim);
    }
  }
  return result;
}

// factor * dy in every index of the dims that were summed.
Tensor spread(const Tensor& dy, const Split& dims, float factor, const Shape& shape) {
  Tensor scaled = dy;
  if (factor != 1) {
    const Tensor source = dy.contiguous();
    scaled = Tensor::empty(dy.device(), dy.dtype(), dy.shape());
    scale(dy.device().stream(), source.raw(), scaled.raw(), factor, dy.num_elements(), dy.dtype());
  }
  StridedView view{scaled, shape.to_vector(), std::vector<int64_t>(static_cast<std::size_t>(shape.rank()), 0)};
  for (int i = 0; i < dims.num_kept; ++i) {
    view.strides[static_cast<std::size_t>(dims.order[static_cast<std::size_t>(i)])] = scaled.stride(i);
  }
  return packed(view);
}

Variable weighted_sum(std::string_view name, const Variable& x, const Split& dims, float factor) {
  const std::string letters = letters_of(x.global_shape().rank());
  std::string kept;
  for (int i = 0; i < dims.num_kept; ++i) {
    kept += letters[static_cast<std::size_t>(dims.order[static_cast<std::size_t>(i)])];
  }
  const IndexRule::Applied rule = IndexRule(name, fmt::format("+{}->{}", letters, kept)).apply({&x});
  return record(name, {x}, sum_last(permuted(x.tensor(), dims.order), dims.num_kept, factor), rule.global_shape(),
                rule.layout(),
                [rule, dims, factor, shape = x.tensor().shape()](const Gradient& dy, InputGradients& in) {
                  in.add(0, spread(dy.tensor, dims, factor, shape), rule.gradient(0, dy.layout));
                });
}

}  // namespace

Variable sum(const Variable& x, const std::vector<int>& dims) {
  return weighted_sum("sum", x, split("sum", x.global_shape(), dims), 1);
}

Variable mean(const Variable& x, const std::vector<int>& dims) {
  int64_t count = 1;
  const Split of = split("mean", x.global_shape(), dims);
  for (const int dim : dims) count *= x.global_shape()[dim];
  return weighted_sum("mean", x, of, static_cast<float>(1.0 / static_cast<double>(count)));
}

}  // namespace triptych::ops
