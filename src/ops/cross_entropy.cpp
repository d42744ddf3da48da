#include "ops/cross_entropy.h"

#include "kernels/cross_entropy.h"
#include "parallel/redistribute.h"

namespace triptych {
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

// `largest` [2, rows] has what slices combine by their maximum: the rows' maxima and the targets' logits.
CrossEntropyRows rows_in(const Tensor& largest, const Tensor& others) {
  float* const maxima = largest.data<float>();
  return {maxima, maxima + largest.size(1), others.data<float>()};
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& targets, double coefficient, Mesh& mesh) {
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
  Device& device = input.device();
  Stream& stream = device.stream();
  Tensor largest = Tensor::empty(device, DType::kFloat32, Shape{2, rows});
  Tensor others = Tensor::empty(device, DType::kFloat32, Shape{rows});
  cross_entropy_rows(stream, slice, rows_in(largest, others));
  if (!(layouts.sums == Layout())) {
    const Tensor of_slice = largest;
    largest = redistribute(of_slice, of_slice.shape(), layouts.maxima, Layout(), mesh);
    cross_entropy_rescale(stream, of_slice.data<float>(), largest.data<float>(), others.data<float>(), rows);
    others = redistribute(others, others.shape(), layouts.sums, Layout(), mesh);
  }
  Tensor loss = Tensor::zeros(device, DType::kFloat64, Shape{1});
  cross_entropy_loss(stream, slice.targets, rows_in(largest, others), rows, coefficient, loss.data<double>());
  return record("cross_entropy", {logits}, std::move(loss), Shape{1}, layouts.loss,
                [slice, input, classes, largest, others, coefficient, layout = logits.layout()](const Gradient& dy,
                                                                                                InputGradients& in) {
                  if (!(dy.layout == Layout())) {
                    throw LayoutError(
                        "cross_entropy",
                        fmt::format("the gradient of the loss must be Replicate, found {}", dy.layout.to_string()));
                  }
                  const Tensor dlogits =
                      input.is_sole_owner() ? input : Tensor::empty(input.device(), input.dtype(), input.shape());
                  cross_entropy_backward(input.device().stream(), slice, rows_in(largest, others), coefficient,
                                         dy.tensor.data<double>(), dlogits.raw());
                  in.add(0, dlogits, layout);
                });
}

}  // namespace triptych
