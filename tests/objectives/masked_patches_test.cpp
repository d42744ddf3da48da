#include "objectives/masked_patches.h"

#include <array>
#include <cmath>
#include <memory>
#include <vector>

#include "ops/mean_of_terms.h"
#include "parallel/in_process_group.h"
#include "parallel/redistribute.h"
#include "support/gradient_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

constexpr std::size_t kBatch = 4, kSize = 4, kPatch = 2, kPatches = 4, kValues = 12, kMasked = 3;
const Shape kReconstruction{kBatch, kPatches, kValues};
// The third sample has no image.
const std::vector<int32_t> kMaskedPatches{0, 1, 3, 1, 2, 3, -1, -1, -1, 0, 2, 3};

std::vector<uint8_t> pixels() {
  std::vector<uint8_t> values;
  for (std::size_t i = 0; i < kBatch * kSize * kSize * 3; ++i) values.push_back(static_cast<uint8_t>(i * i * 37 % 251));
  return values;
}

// The pixels of a patch as CLIP's preprocessing has them, in the order of a convolution's weight.
Rows values_of_patch(std::size_t sample, std::size_t patch) {
  constexpr std::array kMean{0.48145466, 0.4578275, 0.40821073}, kStd{0.26862954, 0.26130258, 0.27577711};
  const std::vector<uint8_t> all = pixels();
  Rows values;
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t y = patch / 2 * kPatch; y < patch / 2 * kPatch + kPatch; ++y) {
      for (std::size_t x = patch % 2 * kPatch; x < patch % 2 * kPatch + kPatch; ++x) {
        values.push_back((all[((sample * kSize + y) * kSize + x) * 3 + c] / 255.0 - kMean[c]) / kStd[c]);
      }
    }
  }
  return values;
}

// He et al. 2022 and the authors' models_mae.py: mean and unbiased variance of a patch, (x - mean) / sqrt(var + 1e-6);
// the mean of squared differences of each patch, and of those the mean over what is masked.
double loss_of(const Rows& reconstruction, bool normalize) {
  double sum = 0, count = 0;
  for (std::size_t b = 0; b < kBatch; ++b) {
    for (std::size_t k = 0; k < kMasked; ++k) {
      if (kMaskedPatches[b * kMasked + k] < 0) continue;
      const auto patch = static_cast<std::size_t>(kMaskedPatches[b * kMasked + k]);
      Rows target = values_of_patch(b, patch);
      double mean = 0, variance = 0;
      for (const double x : target) mean += x / kValues;
      for (const double x : target) variance += (x - mean) * (x - mean) / (kValues - 1);
      double error = 0;
      for (std::size_t i = 0; i < kValues; ++i) {
        if (normalize) target[i] = (target[i] - mean) / std::sqrt(variance + 1e-6);
        error += std::pow(reconstruction[(b * kPatches + patch) * kValues + i] - target[i], 2) / kValues;
      }
      sum += error;
      ++count;
    }
  }
  return sum / count;
}

Rows differences(Rows at, bool normalize) {
  Rows slopes;
  for (double& x : at) {
    const double saved = x, h = 1e-5;
    x = saved + h;
    const double up = loss_of(at, normalize);
    x = saved - h;
    slopes.push_back((up - loss_of(at, normalize)) / (2 * h));
    x = saved;
  }
  return slopes;
}

TEST(MaskedPatchesObjective, IsTheMeanOverTheMaskedPatchesOfTheGlobalBatch) {
  const std::vector<float> values = random_values("reconstruction", kReconstruction.num_elements());
  for (const bool normalize : {true, false}) {
    const ObjectiveSpec spec = masked_patches_objective({.patch = kPatch, .normalize = normalize});
    const Rows whole(values.begin(), values.end()), slopes = differences(whole, normalize);
    const double expected = loss_of(whole, normalize);
    for (const MeshShape& shape : {MeshShape{}, MeshShape{.dp = 2}, MeshShape{.dp = 4}, MeshShape{.dp = 2, .tp = 2}}) {
      SCOPED_TRACE(fmt::format("dp {} tp {}, {}", shape.dp, shape.tp, normalize ? "normalised" : "pixels"));
      run_ranks(shape.dp * shape.tp, [&](Group& world) {
        Device device(1);
        Mesh mesh(world, shape, device);
        const Plan plan = tensor_parallel_plan();
        ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
        const std::unique_ptr<Objective> objective = spec.make(store);
        EXPECT_TRUE(store.all().empty());
        const Pass pass{.device = device, .mesh = mesh, .plan = plan};
        const Range rows = shard_range(kBatch, shape.dp, mesh.rank(Axis::kDp));
        const auto mine = [&](const Tensor& all) { return all.slice(0, rows.begin, rows.length).contiguous(); };
        Fields fields(rows.length);
        fields.set("pixels", mine(Tensor::from<uint8_t>(device, Shape{kBatch, kSize, kSize, 3}, pixels())));
        fields.set("masked_patches", mine(Tensor::from<int32_t>(device, Shape{kBatch, kMasked}, kMaskedPatches)));
        const Tensor count = Tensor::zeros(device, DType::kFloat64, Shape{1});
        objective->count_terms(fields, device.stream(), count.data<double>());
        const Tensor total = redistribute(
            count, Shape{1}, on_mesh(Layout().with(Axis::kDp, Placement::partial()), mesh), Layout(), mesh);
        EXPECT_EQ(total.item<double>(), 9);

        const Variable slot = Variable::leaf(mine(Tensor::from<float>(device, kReconstruction, values)),
                                             kReconstruction, pass.layout("batch"));
        const Variable loss = mean_of_terms(objective->loss(std::span(&slot, 1), fields, pass), 1, total);
        EXPECT_NEAR(redistribute(loss.tensor(), Shape{1}, loss.layout(), Layout(), mesh).item<double>(), expected,
                    tolerance(DType::kFloat32).summed * expected);
        const double one = 1;
        const Gradient seed{Tensor::from<double>(device, Shape{1}, std::span(&one, 1)), loss.layout().of_gradient()};
        backward(std::span(&loss, 1), std::span(&seed, 1));
        const std::vector<float> floats(slopes.begin(), slopes.end());
        const Tensor wanted = mine(Tensor::from<float>(device, kReconstruction, floats));
        EXPECT_LT(relative_error(slot.gradient()->tensor.to_vector<float>(), wanted.to_vector<float>()),
                  tolerance(DType::kFloat32).summed);
      });
    }
  }
}

// With no image at all the loss is zero, and so is the gradient.
TEST(MaskedPatchesObjective, OfABatchWithoutImagesIsZero) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 1, DType::kFloat32);
  const std::unique_ptr<Objective> objective = masked_patches_objective({.patch = kPatch}).make(store);
  const Pass pass{.device = rank.device, .mesh = rank.mesh, .plan = plan};
  Fields fields(kBatch);
  fields.set("pixels", Tensor::zeros(rank.device, DType::kUInt8, Shape{kBatch, kSize, kSize, 3}));
  fields.set("masked_patches",
             Tensor::from<int32_t>(rank.device, Shape{kBatch, kMasked}, std::vector<int32_t>(kBatch * kMasked, -1)));
  const Tensor count = Tensor::zeros(rank.device, DType::kFloat64, Shape{1});
  objective->count_terms(fields, rank.device.stream(), count.data<double>());
  const std::vector<float> values = random_values("reconstruction", kReconstruction.num_elements());
  const Variable slot =
      Variable::leaf(Tensor::from<float>(rank.device, kReconstruction, values), kReconstruction, Layout());
  const Variable loss = mean_of_terms(objective->loss(std::span(&slot, 1), fields, pass), 1, count);
  EXPECT_EQ(loss.tensor().item<double>(), 0);
  const double one = 1;
  const Gradient seed{Tensor::from<double>(rank.device, Shape{1}, std::span(&one, 1)), Layout()};
  backward(std::span(&loss, 1), std::span(&seed, 1));
  for (const float x : slot.gradient()->tensor.to_vector<float>()) EXPECT_EQ(x, 0);
}

}  // namespace
}  // namespace triptych::test
