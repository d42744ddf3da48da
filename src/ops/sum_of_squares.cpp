#include "ops/sum_of_squares.h"

#include "autograd/record.h"
#include "kernels/elementwise.h"
#include "kernels/optimizer.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable sum_of_squares(const Variable& x) {
  TRIPTYCH_CHECK(x.dtype() == DType::kFloat32, "sum_of_squares of {}", dtype_name(x.dtype()));
  const IndexRule::Applied rule = IndexRule("sum_of_squares", "...->").apply({&x});
  const Tensor input = x.tensor().contiguous();
  const Tensor y = Tensor::empty(input.device(), DType::kFloat64, Shape{1});
  const FloatSpan all{input.data<float>(), input.num_elements()};
  kernels::sum_of_squares(input.device().stream(), std::span(&all, 1), y.data<double>());
  return record("sum_of_squares", {x}, y, Shape{1}, rule.layout(),
                [rule, input](const Gradient& dy, InputGradients& in) {
                  const Tensor dx = Tensor::empty(input.device(), DType::kFloat32, input.shape());
                  Stream& stream = input.device().stream();
                  kernels::scale(stream, input.raw(), dx.raw(), 2, input.num_elements(), DType::kFloat32);
                  scale_by(stream, dx.data<float>(), dy.tensor.data<double>(), input.num_elements());
                  in.add(0, dx, rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
