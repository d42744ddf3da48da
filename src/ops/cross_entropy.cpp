#include "ops/cross_entropy.h"

#include <cmath>
#include <utility>

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

// The rows of the logits that this rank has, and what all classes say of them.
struct Rows {
  Tensor input, classes;  // the logits and the targets; `slice` is of their memory
  CrossEntropySlice slice;
  Tensor largest, sums;  // see rows_in
  Layout loss;           // of a sum over the rows
};

Rows rows_of(const Variable& logits, const Tensor& targets, bool with_below, Mesh& mesh) {
  Rows all{.input = logits.tensor().contiguous(), .classes = targets.contiguous()};
  const int rank = all.input.shape().rank();
  const Layouts layouts = layouts_of(logits.layout(), rank);
  all.loss = layouts.loss;
  const int64_t rows = all.input.shape().product(0, rank - 1);
  TRIPTYCH_CHECK(all.classes.num_elements() == rows, "cross_entropy: targets {} for logits {}",
                 all.classes.shape().to_string(), all.input.shape().to_string());
  Shape begin;
  local_shape(logits.global_shape(), logits.layout(), mesh, &begin);
  all.slice = {.logits = all.input.raw(),
               .targets = all.classes.data<int32_t>(),
               .rows = rows,
               .cols = all.input.shape().back(),
               .class_begin = begin.back(),
               .dtype = all.input.dtype()};
  Device& device = all.input.device();
  Stream& stream = device.stream();
  all.largest = Tensor::empty(device, DType::kFloat32, Shape{2, rows});
  all.sums = Tensor::empty(device, DType::kFloat32, Shape{with_below ? 2 : 1, rows});
  cross_entropy_rows(stream, all.slice, rows_in(all.largest, all.sums));
  if (!(layouts.sums == Layout())) {
    const Tensor of_slice = all.largest;
    all.largest = redistribute(of_slice, of_slice.shape(), layouts.maxima, Layout(), mesh);
    cross_entropy_rescale(stream, all.slice, rows_in(of_slice, all.sums), all.largest.data<float>());
    all.sums = redistribute(all.sums, all.sums.shape(), layouts.sums, Layout(), mesh);
  }
  return all;
}

}  // namespace

Variable cross_entropy(const Variable& logits, const Tensor& targets, double coefficient, Mesh& mesh,
                       double label_smoothing) {
  TRIPTYCH_CHECK(label_smoothing >= 0 && label_smoothing < 1, "cross_entropy: label smoothing {}", label_smoothing);
  Rows all = rows_of(logits, targets, label_smoothing > 0, mesh);
  const LabelSmoothing smoothing{.amount = label_smoothing, .num_classes = logits.global_shape().back()};
  Device& device = all.input.device();
  Tensor loss = Tensor::zeros(device, DType::kFloat64, Shape{1});
  cross_entropy_loss(device.stream(), all.slice.targets, rows_in(all.largest, all.sums), all.slice.rows, coefficient,
                     loss.data<double>(), smoothing);
  const Layout of_loss = all.loss;
  return record(
      "cross_entropy", {logits}, std::move(loss), Shape{1}, of_loss,
      [all = std::move(all), coefficient, smoothing, layout = logits.layout()](const Gradient& dy, InputGradients& in) {
        if (!(dy.layout == Layout())) {
          throw LayoutError("cross_entropy",
                            fmt::format("the gradient of the loss must be Replicate, found {}", dy.layout.to_string()));
        }
        const Tensor& input = all.input;
        const Tensor dlogits =
            input.is_sole_owner() ? input : Tensor::empty(input.device(), input.dtype(), input.shape());
        cross_entropy_backward(input.device().stream(), all.slice, rows_in(all.largest, all.sums), coefficient,
                               dy.tensor.data<double>(), dlogits.raw(), smoothing);
        in.add(0, dlogits, layout);
      });
}

Variable target_scores(const Variable& logits, const Tensor& targets, Mesh& mesh) {
  const Rows all = rows_of(logits, targets, false, mesh);
  const int64_t rows = all.slice.rows;
  const Tensor scores = Tensor::empty(all.input.device(), DType::kFloat32, Shape{rows, 3});
  const auto put = [&](int64_t column, const Tensor& from, int64_t row) {
    scores.slice(1, column, 1).copy_from(from.slice(0, row, 1).view(Shape{rows, 1}));
  };
  put(0, all.largest, 0);
  put(1, all.largest, 1);
  put(2, all.sums, 0);
  const int last = logits.global_shape().rank() - 1;
  Layout layout;
  for (const Axis axis : kAxes) {
    if (!logits.layout()[axis].is_shard(last)) layout = layout.with(axis, logits.layout()[axis]);
  }
  return Variable::constant(scores.view(all.input.shape().with(last, 3)), logits.global_shape().with(last, 3), layout);
}

double target_log_probability(std::span<const float> scores) {
  const double target = static_cast<double>(scores[1]) - static_cast<double>(scores[0]);
  return target - std::log(static_cast<double>(scores[2]) + std::exp(target));
}

}  // namespace triptych::ops
