#include "objectives/contrastive.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "autograd/record.h"
#include "kernels/contrastive.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"
#include "kernels/scalars.h"
#include "objectives/presence.h"
#include "ops/redistribute.h"
#include "parallel/redistribute.h"

namespace triptych::objectives {
namespace {

constexpr int64_t kBlockRows = 256;  // similarities of a block against 32,768 candidates take 32 MiB

// One direction: queries [R, E] of this rank against all candidates [N, E].
struct Direction {
  Tensor dqueries, dcandidates;
};

using Block = void (*)(Stream&, const ContrastiveBlockArgs&);

Direction evaluate(const Tensor& queries, const Tensor& candidates, int64_t first_label, Block block,
                   ContrastiveBlockArgs common) {
  Device& device = queries.device();
  Stream& stream = device.stream();
  const int64_t rows = queries.size(0), cols = candidates.size(0), width = queries.size(1);
  Direction result{Tensor::empty(device, DType::kFloat32, queries.shape()),
                   Tensor::zeros(device, DType::kFloat32, candidates.shape())};
  const uint8_t* const row_present = common.row_present;
  const Tensor dots = Tensor::empty(device, DType::kFloat32, Shape{std::min(rows, kBlockRows), cols});
  for (int64_t begin = 0; begin < rows; begin += kBlockRows) {
    const int64_t count = std::min(kBlockRows, rows - begin);
    const float* query_rows = queries.data<float>() + begin * width;
    matmul(stream, {.m = count,
                    .n = cols,
                    .k = width,
                    .a = query_rows,
                    .b = candidates.raw(),
                    .transpose_b = true,
                    .c = dots.raw()});
    common.dots = dots.data<float>();
    common.rows = count;
    common.cols = cols;
    common.label_begin = first_label + begin;
    common.row_present = row_present == nullptr ? nullptr : row_present + begin;
    block(stream, common);  // `dots` is now the gradient of the similarities
    matmul(stream, {.m = count,
                    .n = width,
                    .k = cols,
                    .a = dots.raw(),
                    .b = candidates.raw(),
                    .c = result.dqueries.data<float>() + begin * width});
    matmul(stream, {.m = cols,
                    .n = width,
                    .k = count,
                    .a = dots.raw(),
                    .transpose_a = true,
                    .b = query_rows,
                    .c = result.dcandidates.raw(),
                    .accumulate = true});
  }
  return result;
}

// The first of the sums' members, and where the others are.
enum Sum : int64_t { kLoss, kDLogScale, kDLogScaleMagnitude, kDBias, kDBiasMagnitude };
static_assert(kDBiasMagnitude + 1 == kNumContrastiveSums);

class Contrastive : public Objective {
 public:
  Contrastive(ParameterStore& store, const ContrastiveConfig& config)
      : config_(config),
        log_scale_(&store.create("objective.log_scale", Shape{1}, "replicated",
                                 {.mean = std::log(config.initial_scale), .maximum = std::log(config.maximum_scale)})) {
    if (config.kind == ContrastiveConfig::Kind::kSigmoid) {
      bias_ = &store.create("objective.bias", Shape{1}, "replicated", {.mean = config.initial_bias});
    }
  }

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor pairs = present_samples(fields, config_.needs);
    TRIPTYCH_CHECK(pairs.defined(), "pairs are counted by what they need, and nothing is");
    count_present(stream, pairs.raw(), DType::kUInt8, pairs.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override;

  void write_scalars(Stream& stream, double* scalars) const override {
    add_doubles(stream, scalars, log_scale_of_loss_.data<double>(), 1);
    if (num_pairs_.defined()) add_doubles(stream, scalars + 1, num_pairs_.data<double>(), 1);
  }

  std::map<std::string, double> gradient_magnitudes() const override {
    const std::vector<double> sums = sums_.to_vector<double>();
    std::map<std::string, double> result{{log_scale_->name, sums[kDLogScaleMagnitude]}};
    if (bias_ != nullptr) result[bias_->name] = sums[kDBiasMagnitude];
    return result;
  }

 private:
  ContrastiveConfig config_;
  Parameter* log_scale_;
  Parameter* bias_ = nullptr;
  // Of the last loss. One rank alone tells its scalars, and does not read a parameter for it, which may be shared out.
  Tensor log_scale_of_loss_;  // float64 [1]
  Tensor sums_;               // ContrastiveSums
  Tensor num_pairs_;          // float64 [1], in the global batch; undefined where every sample is one
};

Variable Contrastive::loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) {
  const Variable &image = slots[0], &text = slots[1];
  const Layout gathered;  // Replicate everywhere
  const int64_t batch = image.global_shape()[0];
  Shape begin;
  local_shape(image.global_shape(), image.layout(), pass.mesh, &begin);
  const Variable all_text = redistribute(text, gathered, pass.mesh);
  const Tensor image_rows = image.tensor().contiguous(), text_rows = text.tensor().contiguous();
  const bool symmetric = config_.kind == ContrastiveConfig::Kind::kInfoNce;
  sums_ = Tensor::zeros(pass.device, DType::kFloat64, Shape{kNumContrastiveSums});
  log_scale_of_loss_ = Tensor::empty(pass.device, DType::kFloat64, Shape{1});
  widen(pass.device.stream(), log_scale_->compute.data<float>(), log_scale_of_loss_.data<double>(), 1);
  ContrastiveBlockArgs common{.log_scale = log_scale_->compute.data<float>(),
                              .bias = symmetric ? nullptr : bias_->compute.data<float>(),
                              .coefficient = symmetric ? 0.5 : 1.0,
                              .sums = reinterpret_cast<ContrastiveSums*>(sums_.data<double>())};
  const Tensor own_pairs = present_samples(fields, config_.needs);
  Tensor all_pairs;
  if (own_pairs.defined()) {
    all_pairs = redistribute(own_pairs, Shape{batch}, image.layout(), gathered, pass.mesh).contiguous();
    num_pairs_ = Tensor::zeros(pass.device, DType::kFloat64, Shape{1});
    count_present(pass.device.stream(), all_pairs.raw(), DType::kUInt8, batch, num_pairs_.data<double>());
    common.row_present = own_pairs.data<uint8_t>();
    common.col_present = all_pairs.data<uint8_t>();
    common.num_pairs = num_pairs_.data<double>();
  } else {
    common.coefficient /= static_cast<double>(batch);
  }
  const Block block = symmetric ? info_nce_block : sigmoid_block;

  std::vector<Variable> inputs{image, all_text, pass.use(*log_scale_)};
  const Direction to_text = evaluate(image_rows, all_text.tensor().contiguous(), begin[0], block, common);
  std::vector<Tensor> gradients{to_text.dqueries, to_text.dcandidates};
  if (symmetric) {
    const Variable all_images = redistribute(image, gathered, pass.mesh);
    const Direction to_image = evaluate(text_rows, all_images.tensor().contiguous(), begin[0], block, common);
    gradients.push_back(to_image.dqueries);
    gradients.push_back(to_image.dcandidates);
    inputs.push_back(text);
    inputs.push_back(all_images);
  } else {
    inputs.push_back(pass.use(*bias_));
  }
  const Layout partial = on_mesh(Layout().with(Axis::kDp, Placement::partial()), pass.mesh);
  return record(
      "contrastive_loss", std::move(inputs), sums_.slice(0, kLoss, 1), Shape{1}, partial,
      [gradients, sums = sums_, rows = image.layout(), partial, symmetric](const Gradient& dy, InputGradients& in) {
        // dL/dz times the gradient of the loss itself: 1, or what the loss is scaled by.
        const double* by = dy.tensor.data<double>();
        Stream& stream = dy.tensor.device().stream();
        const auto add = [&](int input, const Tensor& gradient, const Layout& layout) {
          scale_by(stream, gradient.data<float>(), by, gradient.num_elements());
          in.add(input, gradient, layout);
        };
        const auto add_scalar = [&](int input, Sum which) {
          if (!in.needed(input)) return;
          GradientTarget target = in.target(input, dy.tensor.device(), partial);
          if (target.assign) target.tensor.fill_zero();
          accumulate_doubles(stream, target.tensor.data<float>(), sums.data<double>() + which, by, 1);
        };
        add(0, gradients[0], rows);
        add(1, gradients[1], partial);
        add_scalar(2, kDLogScale);
        if (symmetric) {
          add(3, gradients[2], rows);
          add(4, gradients[3], partial);
        } else {
          add_scalar(3, kDBias);
        }
      });
}

}  // namespace

ObjectiveSpec contrastive_objective(const ContrastiveConfig& config, double weight) {
  std::vector<ScalarSpec> scalars{{"temperature", [](double log_scale) { return std::exp(-log_scale); }}};
  if (!config.needs.empty()) scalars.push_back({"pairs", nullptr});
  return {.name = "contrastive",
          .slots = {"image_embedding", "text_embedding"},
          .fields = config.needs,
          .coupling = LossCoupling::kCoupled,
          .weight = weight,
          .scalars = std::move(scalars),
          .make = [config](ParameterStore& store) { return std::make_unique<Contrastive>(store, config); }};
}

}  // namespace triptych::objectives
