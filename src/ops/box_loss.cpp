#include "ops/box_loss.h"

#include "autograd/record.h"
#include "kernels/box_loss.h"
#include "kernels/elementwise.h"
#include "ops/index_rule.h"

namespace triptych::ops {

Variable box_loss(const Variable& boxes, const Tensor& truths, const Tensor& present, const BoxLossWeights& weights) {
  const IndexRule::Applied rule = IndexRule("box_loss", "...c!->").apply({&boxes});
  const Tensor given = boxes.tensor().contiguous(), wanted = truths.contiguous(), numbers = present.contiguous();
  const int64_t rows = numbers.num_elements();
  TRIPTYCH_CHECK(given.shape().back() == 4 && given.num_elements() == 4 * rows && wanted.num_elements() == 4 * rows,
                 "box_loss of boxes {}, truths {}, present {}", given.shape().to_string(), wanted.shape().to_string(),
                 numbers.shape().to_string());
  Device& device = given.device();
  const Tensor loss = Tensor::zeros(device, DType::kFloat64, Shape{1});
  const Tensor gradients = Tensor::empty(device, DType::kFloat32, given.shape());
  kernels::box_loss(device.stream(), {.boxes = given.data<float>(),
                                      .truths = wanted.data<float>(),
                                      .present = numbers.data<int32_t>(),
                                      .rows = rows,
                                      .l1 = weights.l1,
                                      .giou = weights.giou,
                                      .loss = loss.data<double>(),
                                      .gradients = gradients.data<float>()});
  return record("box_loss", {boxes}, loss, Shape{1}, rule.layout(),
                [rule, gradients](const Gradient& dy, InputGradients& in) {
                  scale_by(gradients.device().stream(), gradients.data<float>(), dy.tensor.data<double>(),
                           gradients.num_elements());
                  in.add(0, gradients, rule.gradient(0, dy.layout));
                });
}

}  // namespace triptych::ops
