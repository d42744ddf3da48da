#include "ops/cross_entropy.h"

#include "autograd/record.h"
#include "kernels/cross_entropy.h"
#include "parallel/redistribute.h"

namespace triptych::ops {
namespace {

// What the layout of the logits makes of the loss, and of the maxima and sums of a rank's slice of the classes.
struct Layouts {
  Layout loss, maxima, sums;
};

Layouts layouts_of(const Layout& logits, int rank) {
  Layouts result;
  for (const Axis axis : kAxes) {
    const Placement p = logits[axis];
    if (p.is_partial()) {
      throw LayoutError(axis_name(axis),
                        fmt::format("cross_entropy needs complete logits, found {}. Redistribute them", p.to_string()));
    }
    if (p.is_shard(rank - 1)) {
      result.maxima = result.maxima.with(axis, Placement::partial(ReduceOp::kMax));
      result.sums = result.sums.with(axis, Placement::partial());
    } else if (p.is_shard()) {
      result.loss = result.loss.with(axis, Placement::partial());
    }
  }
  return result;
}

// `largest` [2, rows] has what slices combine by their maximum: the rows' maxima and the targets' logits. `sums` [1 or
// 2, rows] has what they add: the sums over the other classes and, where labels are smoothed, how far all are below.
CrossEntropyRows rows_in(const Tensor& largest, const Tensor& sums) {
  float* const maxima = largest.data<float>();
  float* const others = sums.data<float>();
  return {maxima, maxima + largest.size(1), others, sums.size(0) > 1 ? others + sums.size(1) : nullptr};
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& targets, double coefficient, Mesh& mesh,
                       double label_smoothing) {
  TRIPTYCH_CHECK(label_smoothing >= 0 && label_smoothing < 1, "cross_entropy: label smoothing {}", label_smoothing);
  const Tensor input = logits.tensor().contiguous(), classes = targets.contiguous();
  const int rank = input.shape().rank();
  const Layouts layouts = layouts_of(logits.layout(), rank);
  const int64_t rows = input.shape().product(0, rank - 1);
  TRIPTYCH_CHECK(classes.num_elements() == rows, "cross_entropy: targets {} for logits {}", classes.shape().to_string(),
                 input.shape().to_string());
  Shape begin;
  local_shape(logits.global_shape(), logits.layout(), mesh, &begin);
  // Of the memory of `input` and `classes`, which backward keeps with it.
  const CrossEntropySlice slice{.logits = input.raw(),
                                .targets = classes.data<int32_t>(),
                                .rows = rows,
                                .cols = input.shape().back(),
                                .class_begin = begin.back(),
                                .dtype = input.dtype()};
  const LabelSmoothing smoothing{.amount = label_smoothing, .num_classes = logits.global_shape().back()};
  Device& device = input.device();
  Stream& stream = device.stream();
  Tensor largest = Tensor::empty(device, DType::kFloat32, Shape{2, rows});
  Tensor sums = Tensor::empty(device, DType::kFloat32, Shape{label_smoothing > 0 ? 2 : 1, rows});
  cross_entropy_rows(stream, slice, rows_in(largest, sums));
  if (!(layouts.sums == Layout())) {
    const Tensor of_slice = largest;
    largest = redistribute(of_slice, of_slice.shape(), layouts.maxima, Layout(), mesh);
    cross_entropy_rescale(stream, slice, rows_in(of_slice, sums), largest.data<float>());
    sums = redistribute(sums, sums.shape(), layouts.sums, Layout(), mesh);
  }
  Tensor loss = Tensor::zeros(device, DType::kFloat64, Shape{1});
  cross_entropy_loss(stream, slice.targets, rows_in(largest, sums), rows, coefficient, loss.data<double>(), smoothing);
  return record("cross_entropy", {logits}, std::move(loss), Shape{1}, layouts.loss,
                [slice, input, classes, largest, sums, coefficient, smoothing, layout = logits.layout()](
                    const Gradient& dy, InputGradients& in) {
                  if (!(dy.layout == Layout())) {
                    throw LayoutError(
                        "cross_entropy",
                        fmt::format("the gradient of the loss must be Replicate, found {}", dy.layout.to_string()));
                  }
                  const Tensor dlogits =
                      input.is_sole_owner() ? input : Tensor::empty(input.device(), input.dtype(), input.shape());
                  cross_entropy_backward(input.device().stream(), slice, rows_in(largest, sums), coefficient,
                                         dy.tensor.data<double>(), dlogits.raw(), smoothing);
                  in.add(0, dlogits, layout);
                });
}

}  // namespace triptych::ops
