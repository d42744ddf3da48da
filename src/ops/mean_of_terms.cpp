#include "ops/mean_of_terms.h"

#include "autograd/record.h"
#include "kernels/scalars.h"
#include "ops/index_rule.h"

namespace triptych::ops {
namespace {

Tensor divide(const Tensor& sum, double weight, const Tensor& count) {
  const Tensor result = Tensor::empty(sum.device(), DType::kFloat64, sum.shape());
  divide_doubles(sum.device().stream(), result.data<double>(), sum.data<double>(), weight, count.data<double>(),
                 sum.num_elements());
  return result;
}

}  // namespace

Variable mean_of_terms(const Variable& sum, double weight, const Tensor& count) {
  const IndexRule::Applied rule = IndexRule("mean_of_terms", "+a->a").apply({&sum});
  return record("mean_of_terms", {sum}, divide(sum.tensor(), weight, count), sum.global_shape(), rule.layout(),
                [rule, weight, count](const Gradient& dy, InputGradients& in) {
                  in.add(0, divide(dy.tensor, weight, count), rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
