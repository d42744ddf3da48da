#include "objectives/contrastive.h"

#include <cmath>
#include <utility>
#include <vector>

#include "autograd/record.h"
#include "kernels/contrastive.h"
#include "kernels/elementwise.h"
#include "kernels/scalars.h"
#include "objectives/contrastive_blocks.h"
#include "objectives/presence.h"
#include "ops/redistribute.h"
#include "parallel/redistribute.h"

namespace triptych::objectives {
namespace {

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
  Mesh& mesh = pass.mesh;
  Device& device = pass.device;
  // Ranks of `cp` and `tp` have the same samples: each takes all of the images, and its share of the texts.
  const Layout rows = slots[0].layout();
  const Layout shares =
      on_mesh(rows.with(Axis::kCp, Placement::shard(0, 1)).with(Axis::kTp, Placement::shard(0, 2)), mesh);
  Layout of_shares, of_all;  // what is summed over the shares, and over all ranks
  for (const Axis axis : {Axis::kCp, Axis::kTp}) of_shares = of_shares.with(axis, Placement::partial());
  of_all = on_mesh(of_shares.with(Axis::kDp, Placement::partial()), mesh);
  const Layout of_images = on_mesh(of_shares.with(Axis::kDp, rows[Axis::kDp]), mesh);
  const Variable image = redistribute(slots[0], rows, mesh), text = redistribute(slots[1], shares, mesh);
  const Variable log_scale = pass.use(*log_scale_), bias = pass.use(bias_);

  sums_ = Tensor::zeros(device, DType::kFloat64, Shape{kNumContrastiveSums});
  log_scale_of_loss_ = Tensor::empty(device, DType::kFloat64, Shape{1});
  widen(device.stream(), log_scale_->compute.data<float>(), log_scale_of_loss_.data<double>(), 1);
  const bool symmetric = config_.kind == ContrastiveConfig::Kind::kInfoNce;
  ContrastiveTerms terms{.log_scale = log_scale_->compute.data<float>(),
                         .bias = symmetric ? nullptr : bias_->compute.data<float>(),
                         .coefficient = symmetric ? 0.5 : 1.0,
                         .sums = reinterpret_cast<ContrastiveSums*>(sums_.data<double>())};
  ContrastiveRows all{.queries = image.tensor().contiguous(),
                      .candidates = text.tensor(),
                      .batch = image.global_shape()[0],
                      .present = present_samples(fields, config_.needs)};
  Shape first_image, first_text;
  local_shape(image.global_shape(), rows, mesh, &first_image);
  local_shape(text.global_shape(), shares, mesh, &first_text);
  all.first = first_text[0] - first_image[0];
  if (all.present.defined()) {
    num_pairs_ = Tensor::zeros(device, DType::kFloat64, Shape{1});
    count_present(device.stream(), all.present.raw(), DType::kUInt8, all.present.size(0), num_pairs_.data<double>());
    const Layout of_samples = on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh);
    num_pairs_ = redistribute(num_pairs_, Shape{1}, of_samples, Layout(), mesh);
    terms.num_pairs = num_pairs_.data<double>();
  } else {
    terms.coefficient /= static_cast<double>(all.batch);
  }
  const ContrastiveNeeds needs{.queries = image.needs_gradient(),
                               .candidates = text.needs_gradient(),
                               .scalars = log_scale.needs_gradient() || (!symmetric && bias.needs_gradient())};
  const ContrastiveGradients gradients = evaluate_in_blocks(config_.kind, all, terms, needs, mesh);

  std::vector<Variable> inputs{image, text, log_scale};
  if (!symmetric) inputs.push_back(bias);
  return record(
      "contrastive_loss", std::move(inputs), sums_.slice(0, kLoss, 1), Shape{1}, of_all,
      [gradients, sums = sums_, of_images, shares, of_all, symmetric](const Gradient& dy, InputGradients& in) {
        // dL/dz times the gradient of the loss itself: 1, or what the loss is scaled by.
        const double* by = dy.tensor.data<double>();
        Stream& stream = dy.tensor.device().stream();
        const auto add = [&](int input, const Tensor& gradient, const Layout& layout) {
          if (!in.needed(input)) return;
          scale_by(stream, gradient.data<float>(), by, gradient.num_elements());
          in.add(input, gradient, layout);
        };
        const auto add_scalar = [&](int input, Sum which) {
          if (!in.needed(input)) return;
          GradientTarget target = in.target(input, dy.tensor.device(), of_all);
          if (target.assign) target.tensor.fill_zero();
          accumulate_doubles(stream, target.tensor.data<float>(), sums.data<double>() + which, by, 1);
        };
        add(0, gradients.queries, of_images);
        add(1, gradients.candidates, shares);
        add_scalar(2, kDLogScale);
        if (!symmetric) add_scalar(3, kDBias);
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
