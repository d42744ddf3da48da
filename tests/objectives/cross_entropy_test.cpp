#include "objectives/cross_entropy.h"

#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ops/mean_of_terms.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

constexpr int64_t kBatch = 4, kSequence = 3, kClasses = 5, kMicrobatches = 2;
constexpr double kWeight = 0.4;
const Shape kLogits{kBatch, kSequence, kClasses};

// Negative where there is none; as many as there are differ from sample to sample.
std::vector<int32_t> make_targets(bool any) {
  std::vector<int32_t> targets;
  for (int32_t r = 0; r < kBatch * kSequence; ++r) targets.push_back(!any || r % 5 < 2 ? -1 : r % kClasses);
  return targets;
}

struct Expected {
  double loss = 0;
  Rows dlogits;
};

// kWeight times the mean over all targets of the batch.
Expected expect(const std::vector<float>& logits, const std::vector<int32_t>& targets) {
  Expected expected;
  double count = 0;
  for (const int32_t target : targets) count += target >= 0 ? 1 : 0;
  for (std::size_t r = 0; r < targets.size(); ++r) {
    const float* row = logits.data() + r * kClasses;
    double total = 0;
    for (std::size_t c = 0; c < kClasses; ++c) total += std::exp(static_cast<double>(row[c]));
    if (targets[r] >= 0) expected.loss += kWeight / count * (std::log(total) - row[targets[r]]);
    for (std::size_t c = 0; c < kClasses; ++c) {
      const double onehot = static_cast<int32_t>(c) == targets[r] ? 1 : 0;
      expected.dlogits.push_back(
          targets[r] < 0 ? 0 : kWeight / count * (std::exp(static_cast<double>(row[c])) / total - onehot));
    }
  }
  return expected;
}

// Of four samples the second and the last have all that is needed: the first lacks the image, the third the text.
const std::vector<uint8_t> kHasImage{0, 1, 1, 7}, kHasText{1, 1, 0, 1};

std::vector<int32_t> targets_of_the_present(std::vector<int32_t> targets) {
  for (std::size_t i = 0; i < targets.size(); ++i) {
    const std::size_t sample = i / static_cast<std::size_t>(kSequence);
    if (kHasImage[sample] == 0 || kHasText[sample] == 0) targets[i] = -1;
  }
  return targets;
}

Tensor piece_of(const Tensor& whole, const Layout& layout, const Mesh& mesh) {
  Shape begin;
  const Shape local = local_shape(kLogits, layout, mesh, &begin);
  Tensor piece = whole;
  for (int dim = 0; dim < whole.shape().rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  return piece.contiguous();
}

// As a step does it: the terms are counted before anything is computed, the losses of the microbatches divided by the
// sum of the counts over all ranks.
TEST(CrossEntropyObjective, IsTheMeanOverTheTargetsOfTheGlobalBatch) {
  const std::vector<float> logits = random_values("logits", kLogits.num_elements(), 2);
  const ObjectiveSpec of_all =
      cross_entropy_objective({.name = "label", .slot = "scores", .field = "labels", .weight = kWeight});
  EXPECT_EQ(of_all.slots, std::vector<std::string>{"scores"});
  EXPECT_EQ(of_all.fields, std::vector<std::string>{"labels"});
  EXPECT_EQ(of_all.coupling, LossCoupling::kSplit);
  const ObjectiveSpec of_present = cross_entropy_objective({.name = "label",
                                                            .slot = "scores",
                                                            .field = "labels",
                                                            .needs = {"image_present", "text_present"},
                                                            .weight = kWeight});
  EXPECT_EQ(of_present.fields, (std::vector<std::string>{"image_present", "text_present", "labels"}));
  for (const auto& [any, absent] : {std::pair(true, false), {false, false}, {true, true}}) {
    const ObjectiveSpec& spec = absent ? of_present : of_all;
    const std::vector<int32_t> targets = make_targets(any);
    const Expected expected = expect(logits, absent ? targets_of_the_present(targets) : targets);
    for (const MeshShape& shape : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.tp = 2}, MeshShape{.dp = 2, .tp = 3}}) {
      SCOPED_TRACE(fmt::format("dp {} tp {}, {}", shape.dp, shape.tp,
                               absent ? "absent samples"
                               : any  ? "some targets"
                                      : "no target"));
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        const Plan plan = tensor_parallel_plan();
        ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
        const std::unique_ptr<Objective> objective = spec.make(store);
        EXPECT_TRUE(store.all().empty());
        const Pass pass{.device = device, .mesh = mesh, .plan = plan};
        const Layout layout = pass.layout("logits");
        const Tensor whole = Tensor::from<float>(device, kLogits, logits);
        const Tensor mine = piece_of(whole, layout, mesh);
        Fields fields(mine.size(0));
        fields.set("labels", piece_of(Tensor::from<int32_t>(device, Shape{kBatch, kSequence}, targets), layout, mesh));
        const auto flags = [&](const std::vector<uint8_t>& values) {
          return piece_of(Tensor::from<uint8_t>(device, Shape{kBatch}, values), layout, mesh);
        };
        fields.set("image_present", flags(kHasImage));
        fields.set("text_present", flags(kHasText));
        const Tensor count = Tensor::zeros(device, DType::kFloat64, Shape{1});
        objective->count_terms(fields, device.stream(), count.data<double>());
        const Tensor total = redistribute(
            count, Shape{1}, on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh), Layout(), mesh);

        double loss = 0;
        const std::vector<Fields> parts = fields.cut(kMicrobatches);
        const int64_t rows = mine.size(0) / kMicrobatches;
        for (int64_t m = 0; m < kMicrobatches; ++m) {
          const Tensor part = mine.slice(0, m * rows, rows).contiguous();
          const Variable scores = Variable::leaf(part, kLogits.with(0, kBatch / kMicrobatches), layout);
          const Variable sum = objective->loss(std::span(&scores, 1), parts[static_cast<std::size_t>(m)], pass);
          const Variable mean = mean_of_terms(sum, spec.weight, total);
          loss += redistribute(mean.tensor(), Shape{1}, mean.layout(), Layout(), mesh).item<double>();
          const double one = 1;
          const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), mean.layout().of_gradient()};
          backward(std::span(&mean, 1), std::span(&seed, 1));
          const std::vector<float> floats(expected.dlogits.begin(), expected.dlogits.end());
          const Tensor dlogits =
              piece_of(Tensor::from<float>(device, kLogits, floats), layout, mesh).slice(0, m * rows, rows);
          EXPECT_LT(relative_error(scores.gradient()->tensor.to_vector<float>(), dlogits.to_vector<float>()),
                    tolerance(DType::kFloat32).summed);
        }
        EXPECT_NEAR(loss, expected.loss, tolerance(DType::kFloat32).summed * expected.loss);
      });
    }
  }
}

// A split loss that does not count would be divided by nothing.
TEST(ObjectiveTest, ASplitLossMustCountItsTerms) {
  class Uncounted : public Objective {
    Variable loss(std::span<const Variable>, const Fields&, const Pass&) override { return {}; }
  };
  OneRank rank;
  EXPECT_THROW(Uncounted().count_terms(Fields(1), rank.device.stream(), nullptr), InternalError);
}

TEST(ObjectiveTest, OneCoupledLossMakesTheRunCoupled) {
  std::vector<ObjectiveSpec> specs{cross_entropy_objective({}), cross_entropy_objective({.name = "label"})};
  EXPECT_EQ(coupling_of(specs), LossCoupling::kSplit);
  specs.insert(specs.begin() + 1, ObjectiveSpec{.coupling = LossCoupling::kCoupled});
  EXPECT_EQ(coupling_of(specs), LossCoupling::kCoupled);
}

}  // namespace
}  // namespace triptych::test
