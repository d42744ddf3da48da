#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/name_pattern.h"
#include "execution/count_products.h"
#include "made_up_model.h"
#include "models/classifier.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/sanitizer.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int64_t kRows = 24;  // of the global batch
const double kBound = 2 * tolerance(DType::kFloat32).summed;
const ExecutionOptions kOptions{.seed = 17, .bucket_bytes = 200};

using Patterns = std::vector<std::string>;

std::function<bool(const std::string&)> matching(const Patterns& patterns) {
  return [patterns](const std::string& name) {
    for (const std::string& pattern : patterns) {
      if (match_pattern(pattern, name)) return true;
    }
    return false;
  };
}

std::vector<ObjectiveSpec> objectives_of(const std::string& kind) {
  if (kind == "split") return {next_token(1), classes(2)};
  if (kind == "coupled") return {contrastive_objective({})};
  return {next_token(0.7), contrastive_objective({.kind = ContrastiveConfig::Kind::kSigmoid, .initial_bias = -1}, 0.4),
          classes(2)};
}

Fields batch_of(RankModel& rank) {
  const int64_t rows = kRows / rank.mesh.size(Axis::kDp);
  return made_up_fields(rank.device, kRows, rank.mesh.rank(Axis::kDp) * rows, rows);
}

struct Trained {
  std::string name;
  Patterns patterns;
};

// "shared" is a table that the first block and the last have, "side" a slot from the second block to the last.
const std::vector<Trained> kTrained{
    {"top", {"mix.1.*", "end.*"}},
    {"body_frozen", {"shared*", "fork.*", "mix.1.*", "end.*", "objective.*"}},
    {"side_alone", {"fork.*"}},
    {"middle", {"body.blocks.1.*"}},
    {"classes_alone", {"end.classes"}},
    {"no_biases", {"*.weight", "mix.*", "end.*"}},
    {"objective_alone", {"objective.*", "end.classes"}},
    {"one_of_two_slots", {"end.left", "end.classes"}},
    {"table", {"shared*"}},
};

// The gradients of what is trained are those of one rank that trains everything; when all thaws, all are.
class FrozenParts : public ::testing::TestWithParam<std::size_t> {};

TEST_P(FrozenParts, LeaveTheRestTheGradientsOfARankThatTrainsAll) {
  const Trained& trained = kTrained[GetParam()];
  std::size_t turn = 14 * GetParam();  // so that kinds and meshes meet other schedules
  for (const char* kind : {"split", "coupled", "both"}) {
    if (std::string(kind) == "coupled" && trained.name == "classes_alone") continue;  // nothing at all
    for (const MeshShape& mesh : fewer_if_sanitized<MeshShape>(
             {{}, {.pp = 2, .dp = 2}, {.pp = 3}, {.pp = 2, .tp = 2}, {.dp = 2, .tp = 2}}, 4, GetParam() % 4)) {
      const std::vector<std::string> names = schedule_names();
      const std::string schedule_name = names[turn % names.size()];
      const bool sequence_parallel = turn % 3 == 1;
      const Recompute recompute = kRecomputes[turn % 4 == 3 ? 1 : turn % 2 * 2];
      const int microbatches = 1 << (turn % 3);
      ++turn;
      SCOPED_TRACE(fmt::format("{} {} pp{}dp{}tp{} {} m{}", trained.name, kind, mesh.pp, mesh.dp, mesh.tp,
                               schedule_name, microbatches));
      const std::vector<ObjectiveSpec> objectives = objectives_of(kind);
      const LossCoupling coupling = coupling_of(objectives);
      run_ranks(mesh.pp * mesh.dp * mesh.tp, [&](Group& world) {
        const std::unique_ptr<Group> self = make_self_group("reference");
        RankModel reference(*self, {}, made_up_model(), objectives, gpipe({1, 1, 1, coupling}), kOptions);
        ExecutionOptions options = kOptions;
        options.recompute = recompute;
        RankModel rank(world, mesh, made_up_model(), objectives,
                       make_schedule(schedule_name, {mesh.pp, 0, microbatches, coupling}), options, sequence_parallel);
        rank.executor.set_trained(matching(trained.patterns));
        const std::vector<Fields> whole{batch_of(reference)}, mine = batch_of(rank).cut(microbatches);
        const auto compare = [&](int64_t step) {
          const std::vector<double> expected = step_values_of(reference, reference.executor.run_step(whole, step));
          const std::vector<double> values = step_values_of(rank, rank.executor.run_step(mine, step));
          for (std::size_t i = 0; i < values.size(); ++i) {
            EXPECT_NEAR(values[i], expected[i], kBound * std::abs(expected[i]));
          }
          expect_same_gradients(rank, reference, kBound);
        };
        for (const int64_t step : {3, 4}) compare(step);
        rank.executor.set_trained([](const std::string&) { return true; });
        for (const int64_t step : {5, 6}) compare(step);
      });
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Trained, FrozenParts, ::testing::Range<std::size_t>(0, kTrained.size()),
                         [](const auto& param) { return kTrained[param.param].name; });

// What a step multiplies, without its forward.
struct Backward {
  int64_t flops, attention_backwards;
};
Backward backward_of(RankModel& rank, const Fields& data, const Patterns& trained) {
  rank.executor.set_trained(matching(trained));
  ProductCount& count = product_count();
  const auto measure = [&](const std::function<void()>& work) {
    const int64_t flops = count.flops, attention = count.attention_backwards;
    work();
    return Backward{count.flops - flops, count.attention_backwards - attention};
  };
  const Backward forward = measure([&] { rank.executor.infer(data, std::vector<std::string>{"logits"}); });
  const Backward step = measure([&] { rank.executor.run_step(std::vector<Fields>{data}, 1); });
  return {step.flops - forward.flops, step.attention_backwards};
}

class FrozenClassifier : public ::testing::TestWithParam<Recompute> {
 protected:
  static constexpr int64_t kBatch = 3, kH = 8, kF = 12, kS = 5, kPatchPixels = 3 * 2 * 2, kPatches = 4;
  static ClassifierConfig config() {
    ClassifierConfig c;
    c.image.size = 4;
    c.image.patch = 2;
    c.image.pooling = ImageEncoderConfig::Pooling::kClassToken;
    c.image.sizes = {.width = kH, .layers = 3, .heads = 2, .feed_forward = kF};
    c.num_classes = kClasses;
    return c;
  }
  Backward backward_of_trained(const Patterns& trained, const std::vector<AdapterOptions>& adapters = {}) {
    const std::unique_ptr<Group> self = make_self_group("test");
    ExecutionOptions options = kOptions;
    options.recompute = GetParam();
    RankModel rank(*self, {}, classifier(config()),
                   {cross_entropy_objective({.name = "classify", .slot = "logits", .field = "label"})},
                   gpipe({1, 1, 1, LossCoupling::kSplit}), options, false, adapters);
    Fields data(kBatch);
    data.set("pixels", Tensor::zeros(rank.device, DType::kUInt8, Shape{kBatch, 4, 4, 3}));
    data.set("label", Tensor::zeros(rank.device, DType::kInt32, Shape{kBatch}));
    const Backward backward = test::backward_of(rank, data, trained);
    flops_ = rank.executor.flops();
    return backward;
  }
  // Matrix products by hand, of the whole batch: [rows, in] times [in, out].
  static int64_t product(int64_t rows, int64_t in, int64_t out) { return 2 * kBatch * rows * in * out; }
  static int64_t head() { return product(1, kH, kClasses); }
  static int64_t patches() { return product(kPatches, kPatchPixels, kH); }
  static int64_t qkv() { return product(kS, kH, 3 * kH); }
  static int64_t others() { return product(kS, kH, kH) + 2 * product(kS, kH, kF); }  // of a block, behind the attention
  static int64_t again() {
    return GetParam() == Recompute::kFull ? qkv() + others() : 0;
  }  // of a block that runs twice

  // The program's own count for the batch, but for attention's, of which no product is one of the kernels counted here.
  double counted(double attentions) const {
    const double products = static_cast<double>(qkv() + others()) / kBatch;
    const double block = TransformerBlock::forward_flops({.width = kH, .num_heads = 2, .feed_forward = kF}, kS);
    return (flops_ - attentions * (block - products)) * kBatch;
  }

  double flops_ = 0;
};

TEST_P(FrozenClassifier, AFrozenEncoderCostsNoBackward) {
  Backward backward = backward_of_trained({"classify.*"});
  EXPECT_EQ(backward.flops, 2 * head()) << "the head's weight, and its norm, which lies below it";
  EXPECT_EQ(backward.attention_backwards, 0);
  backward = backward_of_trained({"classify.head.weight", "classify.head.bias"});
  EXPECT_EQ(backward.flops, head()) << "the gradient of the head's weight and nothing else";
  EXPECT_EQ(backward.attention_backwards, 0);
  // The program's own count: the forward of all, and the head's backward.
  const double block = TransformerBlock::forward_flops({.width = kH, .num_heads = 2, .feed_forward = kF}, kS);
  EXPECT_EQ(flops_ * kBatch, static_cast<double>(patches() + 3 * head()) + 3 * block * kBatch);
}

TEST_P(FrozenClassifier, BackwardEndsAtTheFirstTrainedPart) {
  // The last block, of which a norm is the first part.
  Backward backward = backward_of_trained({"classify.*", "image.blocks.2.*"});
  EXPECT_EQ(backward.flops, 2 * (head() + qkv() + others()) + again());
  EXPECT_EQ(backward.attention_backwards, 1);
  // Of the middle block its last weight: nothing of the block is passed but that weight's gradient.
  backward = backward_of_trained({"image.blocks.1.feed_forward.out.weight"});
  EXPECT_EQ(backward.flops, head() + qkv() + others() + product(kS, kH, kF) + 2 * again());
  EXPECT_EQ(backward.attention_backwards, 1) << "through the last block alone";
}

TEST_P(FrozenClassifier, FrozenWeightsOnTheWayPassGradientsOnAndHaveNone) {
  Backward backward = backward_of_trained({"image.embed.*"});
  EXPECT_EQ(backward.flops, head() + 3 * (qkv() + others()) + patches() + 3 * again());
  EXPECT_EQ(backward.attention_backwards, 3);
  backward = backward_of_trained({"*"});
  EXPECT_EQ(backward.flops, 2 * head() + 6 * (qkv() + others()) + patches() + 3 * again());
}

// Hu et al. 2021, LoRA: the adapters' products count, and the gradients of the matrices that they stand beside are not
// made.
TEST_P(FrozenClassifier, AdaptersAreCountedAndFrozenMatricesHaveNoGradient) {
  constexpr int64_t kRank = 2;
  const std::vector<AdapterOptions> adapters{
      {.match = {"*.attention.qkv.weight", "*.feed_forward.out.weight"}, .rank = kRank}};
  const int64_t low = product(kS, kH, kRank), of_qkv = low + product(kS, kRank, 3 * kH),
                of_out = product(kS, kF, kRank) + product(kS, kRank, kH), block = qkv() + others();
  const int64_t twice = GetParam() == Recompute::kFull ? block + of_qkv + of_out : 0;
  const Backward backward = backward_of_trained({"*.adapter.*", "classify.*"}, adapters);
  // Below the first block nothing is trained, so its first product and that of its A pass nothing on.
  const int64_t first = qkv() + low;
  EXPECT_EQ(backward.flops, 2 * head() + 3 * (block + 2 * (of_qkv + of_out) + twice) - first);
  EXPECT_EQ(counted(9), patches() + 3 * head() + 3 * (2 * block + 3 * (of_qkv + of_out)));
  // With frozen adapters and a norm that is trained, gradients go through all of them.
  backward_of_trained({"image.blocks.0.attention.norm.*"}, adapters);
  EXPECT_EQ(counted(7), patches() + 2 * head() + 3 * 2 * (block + of_qkv + of_out));
}

INSTANTIATE_TEST_SUITE_P(Recompute, FrozenClassifier, ::testing::ValuesIn(kRecomputes),
                         [](const auto& param) { return std::string(recompute_name(param.param)); });

// Locked-image tuning: the frozen tower's forward runs once, for the loss, and not again for a backward.
TEST(Frozen, AFrozenSlotIsNotComputedAgainBehindItsEmbedding) {
  const std::unique_ptr<Group> self = make_self_group("test");
  const std::vector<ObjectiveSpec> objectives{contrastive_objective({})};
  std::vector<int64_t> flops;
  for (const Patterns& trained : {Patterns{"objective.*"}, Patterns{"end.right"}, Patterns{"*"}}) {
    RankModel rank(*self, {}, made_up_model(), objectives, make_schedule("1f1b", {1, 1, 2, LossCoupling::kCoupled}),
                   kOptions);
    rank.executor.set_trained(matching(trained));
    const int64_t before = product_count().flops;
    rank.executor.run_step(batch_of(rank).cut(2), 1);
    flops.push_back(product_count().flops - before);
  }
  EXPECT_LT(flops[0], flops[1]);
  EXPECT_LT(flops[1], flops[2]);
}

}  // namespace
}  // namespace triptych::test
