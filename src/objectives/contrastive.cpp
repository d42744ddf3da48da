#include "objectives/contrastive.h"

#include <algorithm>
#include <cmath>

#include "kernels/contrastive.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "ops/redistribute.h"

namespace triptych {
namespace {

constexpr int64_t kBlockRows = 256;  // similarities of a block against 32,768 candidates take 32 MiB

struct Sums {
  double loss = 0, dscale = 0, dscale_magnitude = 0, dbias = 0, dbias_magnitude = 0;
  ContrastiveSums pointers() { return {&loss, &dscale, &dscale_magnitude, &dbias, &dbias_magnitude}; }
};

// One direction: queries [R, E] of this rank against all candidates [N, E].
struct Direction {
  Tensor dqueries, dcandidates;
};

template <typename Evaluate>
Direction evaluate(const Tensor& queries, const Tensor& candidates, int64_t first_label, const Evaluate& block) {
  Device& device = queries.device();
  Stream& stream = device.stream();
  const int64_t rows = queries.size(0), cols = candidates.size(0), width = queries.size(1);
  Direction result{Tensor::empty(device, DType::kFloat32, queries.shape()),
                   Tensor::zeros(device, DType::kFloat32, candidates.shape())};
  const Tensor dots = Tensor::empty(device, DType::kFloat32, Shape{std::min(rows, kBlockRows), cols});
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t count = std::min(kBlockRows, rows - begin);
    const float* query_rows = queries.data<float>() + begin * width;
    matmul({.m = count,
            .n = cols,
            .k = width,
            .a = query_rows,
            .b = candidates.raw(),
            .transpose_b = true,
            .c = dots.raw()},
           stream);
    block(dots.data<float>(), count, cols, first_label + begin);  // now the gradient of the similarities
    matmul({.m = count,
            .n = width,
            .k = cols,
            .a = dots.raw(),
            .b = candidates.raw(),
            .c = result.dqueries.data<float>() + begin * width},
           stream);
    matmul({.m = cols,
            .n = width,
            .k = count,
            .a = dots.raw(),
            .transpose_a = true,
            .b = query_rows,
            .c = result.dcandidates.raw(),
            .accumulate = true},
           stream);
  }
  return result;
}

void add_scalar(const Tensor& gradient, double value) {
  *gradient.data<float>() += static_cast<float>(value);
}

// dL/dz times the gradient of the loss itself, which is 1 at the root of a backward.
Tensor scaled(const Tensor& gradient, double by) {
  if (by == 1) return gradient;
  const Tensor result = gradient.clone();
  scale_into(result.device().stream(), result.data<float>(), static_cast<float>(by), result.num_elements());
  return result;
}

}  // namespace

ContrastiveObjective::ContrastiveObjective(ParameterStore& store, const ContrastiveConfig& config)
    : config_(config),
      log_scale_(&store.create("objective.log_scale", Shape{1},
                               {.mean = std::log(config.initial_scale),
                                .maximum = std::log(config.maximum_scale),
                                .summands_per_step = 1})) {
  if (config.kind == ContrastiveConfig::Kind::kSigmoid) {
    bias_ = &store.create("objective.bias", Shape{1}, {.mean = config.initial_bias, .summands_per_step = 1});
  }
}

float ContrastiveObjective::scale() const {
  return std::exp(log_scale_->value.item<float>());
}

Variable ContrastiveObjective::loss(const Variable& image, const Variable& text, const Pass& pass) {
  const Layout gathered;  // Replicate everywhere
  const int64_t batch = image.global_shape()[0];
  Shape begin;
  local_shape(image.global_shape(), image.layout(), pass.mesh, &begin);
  const Variable all_text = redistribute(text, gathered, pass.mesh);
  const Tensor image_rows = image.tensor().contiguous(), text_rows = text.tensor().contiguous();
  const float s = scale();
  Sums sums;
  std::vector<Variable> inputs{image, all_text, pass.use(*log_scale_)};
  std::vector<Tensor> gradients;
  if (config_.kind == ContrastiveConfig::Kind::kInfoNce) {
    const Variable all_images = redistribute(image, gathered, pass.mesh);
    const auto block = [&](float* dots, int64_t rows, int64_t cols, int64_t label) {
      info_nce_block(pass.device.stream(), {.dots = dots,
                                            .rows = rows,
                                            .cols = cols,
                                            .label_begin = label,
                                            .scale = s,
                                            .coefficient = 0.5 / static_cast<double>(batch),
                                            .sums = sums.pointers()});
    };
    const Direction to_text = evaluate(image_rows, all_text.tensor().contiguous(), begin[0], block);
    const Direction to_image = evaluate(text_rows, all_images.tensor().contiguous(), begin[0], block);
    gradients = {to_text.dqueries, to_text.dcandidates, to_image.dqueries, to_image.dcandidates};
    inputs.push_back(text);
    inputs.push_back(all_images);
  } else {
    const auto block = [&](float* dots, int64_t rows, int64_t cols, int64_t label) {
      sigmoid_block(pass.device.stream(), {.dots = dots,
                                           .rows = rows,
                                           .cols = cols,
                                           .label_begin = label,
                                           .scale = s,
                                           .bias = bias_->value.item<float>(),
                                           .coefficient = 1 / static_cast<double>(batch),
                                           .sums = sums.pointers()});
    };
    const Direction to_text = evaluate(image_rows, all_text.tensor().contiguous(), begin[0], block);
    gradients = {to_text.dqueries, to_text.dcandidates};
    inputs.push_back(pass.use(*bias_));
  }
  magnitudes_ = {{log_scale_->name, sums.dscale_magnitude * s}};
  if (bias_ != nullptr) magnitudes_[bias_->name] = sums.dbias_magnitude;

  const double weight = config_.kind == ContrastiveConfig::Kind::kInfoNce ? 0.5 : 1.0;
  const double loss = weight / static_cast<double>(batch) * sums.loss;
  const Layout partial = on_mesh(Layout().with(Axis::kDp, Placement::partial()), pass.mesh);
  Tensor value = Tensor::from<double>(pass.device, Shape{1}, std::span(&loss, 1));
  return record("contrastive_loss", std::move(inputs), std::move(value), Shape{1}, partial,
                [gradients, sums, s, rows = image.layout(), partial, has_bias = bias_ != nullptr](const Gradient& dy,
                                                                                                  InputGradients& in) {
                  const double by = dy.tensor.item<double>();
                  in.add(0, scaled(gradients[0], by), rows);
                  in.add(1, scaled(gradients[1], by), partial);
                  if (in.needed(2)) add_scalar(in.parameter(2, partial), by * sums.dscale * s);
                  if (has_bias) {
                    if (in.needed(3)) add_scalar(in.parameter(3, partial), by * sums.dbias);
                  } else {
                    in.add(3, scaled(gradients[2], by), rows);
                    in.add(4, scaled(gradients[3], by), partial);
                  }
                });
}

}  // namespace triptych
