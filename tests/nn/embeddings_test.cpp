#include "nn/embeddings.h"

#include <cmath>

#include "module_check.h"

namespace triptych::test {
namespace {

using Rows = std::vector<double>;

// ---- Tokens: a table read twice, at both ends of a model.

constexpr std::size_t kBatch = 2, kSequence = 3, kWidth = 4, kVocabulary = 7;
const std::vector<int32_t> kIds{3, 0, 6, 3, 3, 5};  // [kBatch, kSequence]

Rows scores(const Wholes& values) {
  const Rows &table = values.at("text.tokens.weight"), &positions = values.at("text.positions");
  Rows y;
  for (std::size_t r = 0; r < kIds.size(); ++r) {
    const auto id = static_cast<std::size_t>(kIds[r]);
    for (std::size_t v = 0; v < kVocabulary; ++v) {
      double sum = 0;
      for (std::size_t c = 0; c < kWidth; ++c) {
        const double x = table[id * kWidth + c] + positions[r % kSequence * kWidth + c];
        sum += x * table[v * kWidth + c];
      }
      y.push_back(sum);
    }
  }
  return y;
}

TEST(TokenTableTest, EmbedsAndScoresWithOneMatrixOnEveryMesh) {
  ModuleSetup setup;
  setup.batch = kBatch;
  setup.make = [](ParameterStore& store) -> Module {
    // Made twice, as by two blocks.
    const TokenTable embeds(store, "text", kVocabulary, kWidth, true),
        scores_again(store, "text", kVocabulary, kWidth, true);
    const LearnedPositions positions(store, "text", {.sequence = kSequence}, kWidth);
    return [=](std::span<const Variable>, const Pass& pass, const Range& rows) {
      const Tensor ids = Tensor::from<int32_t>(pass.device, Shape{kBatch, kSequence}, kIds);
      const Variable x = positions.add_to(embeds.embed(ids.slice(0, rows.begin, rows.length), pass), pass);
      EXPECT_EQ(x.layout(), pass.layout("stream"));
      const Variable y = scores_again.logits(pass.laid_out(x, "tokens"), pass);
      EXPECT_EQ(y.layout(), pass.layout("logits"));
      return y;
    };
  };
  std::vector<ParallelRun> runs = kParallelRuns;
  runs.push_back({{.tp = 3}, true});
  // The table's gradient is summed in float32 over both of its uses, of which one is a kernel's.
  runs.push_back({{}, false, Recompute::kNone, DType::kBFloat16});
  runs.push_back({{.dp = 2, .tp = 2}, true, Recompute::kSelective, DType::kBFloat16});
  check_module(setup, scores, runs);
}

TEST(LearnedPositionsTest, LieAsTheStreamThatTheyAreAddedTo) {
  const auto layout_of = [](Mesh& mesh, Device& device, const Plan& plan) {
    ParameterStore store(device, mesh, plan, 1, DType::kFloat32);
    const LearnedPositions positions(store, "text", {.sequence = kSequence}, kWidth);
    return store.all()[0]->layout;
  };
  run_ranks(4, [&](Group& world) {
    Device device(1);
    Mesh mesh(world, {.dp = 2, .tp = 2}, device), with_cp(world, {.cp = 2, .tp = 2}, device);
    const Layout by_cp = Layout().with(Axis::kCp, Placement::shard(0));
    EXPECT_EQ(layout_of(mesh, device, tensor_parallel_plan()), kWhole);
    EXPECT_EQ(layout_of(mesh, device, sequence_parallel_plan()), on_tp(0));
    EXPECT_EQ(layout_of(with_cp, device, tensor_parallel_plan()), by_cp);
    EXPECT_EQ(layout_of(with_cp, device, sequence_parallel_plan()), by_cp.with(Axis::kTp, Placement::shard(0, 1)));
    EXPECT_EQ(layout_of(with_cp, device, whole_sequence_plan()), kWhole);
  });
}

// ---- Images

constexpr std::size_t kSize = 4, kPatch = 2, kColors = 3, kInputs = kColors * kPatch * kPatch;
constexpr std::size_t kPatches = (kSize / kPatch) * (kSize / kPatch);

std::vector<uint8_t> pixels() {
  std::vector<uint8_t> values;
  for (std::size_t i = 0; i < kBatch * kSize * kSize * kColors; ++i) values.push_back(static_cast<uint8_t>(i * 37));
  return values;
}

// What CLIP's preprocessing gives the network, and a convolution of stride kPatch by its definition.
Rows embedded(const Wholes& values, bool class_token) {
  constexpr std::array kMean{0.48145466, 0.4578275, 0.40821073}, kStd{0.26862954, 0.26130258, 0.27577711};
  const std::vector<uint8_t> image = pixels();
  const Rows &weight = values.at("image.patch.weight"), &bias = values.at("image.patch.bias");
  const Rows& positions = values.at("image.positions");
  const std::size_t first = class_token ? 1 : 0, sequence = kPatches + first;
  Rows y;
  for (std::size_t b = 0; b < kBatch; ++b) {
    for (std::size_t s = 0; s < sequence; ++s) {
      for (std::size_t o = 0; o < kWidth; ++o) {
        double sum = positions[s * kWidth + o];
        if (s < first) {
          y.push_back(sum + values.at("image.class_token")[o]);
          continue;
        }
        const std::size_t row = (s - first) / (kSize / kPatch) * kPatch,
                          column = (s - first) % (kSize / kPatch) * kPatch;
        sum += bias[o];
        for (std::size_t c = 0; c < kColors; ++c) {
          for (std::size_t dy = 0; dy < kPatch; ++dy) {
            for (std::size_t dx = 0; dx < kPatch; ++dx) {
              const uint8_t pixel = image[((b * kSize + row + dy) * kSize + column + dx) * kColors + c];
              sum += weight[o * kInputs + (c * kPatch + dy) * kPatch + dx] * (pixel / 255.0 - kMean[c]) / kStd[c];
            }
          }
        }
        y.push_back(sum);
      }
    }
  }
  return y;
}

TEST(PatchEmbeddingTest, EqualsDoubleAndItsCentralDifferencesOnEveryMesh) {
  for (const bool class_token : {false, true}) {
    SCOPED_TRACE(fmt::format("class token {}", class_token));
    const PatchEmbedding::Config config{.size = kSize, .patch = kPatch, .width = kWidth, .class_token = class_token};
    EXPECT_EQ(config.sequence(), static_cast<int64_t>(kPatches) + class_token);
    ModuleSetup setup;
    setup.batch = kBatch;
    setup.make = [config](ParameterStore& store) -> Module {
      return [embedding = PatchEmbedding(store, "image", config)](std::span<const Variable>, const Pass& pass,
                                                                  const Range& rows) {
        const Tensor all = Tensor::from<uint8_t>(pass.device, Shape{kBatch, kSize, kSize, kColors}, pixels());
        return embedding.forward(all.slice(0, rows.begin, rows.length), pass);
      };
    };
    std::vector<ParallelRun> runs = kParallelRuns;
    runs.push_back({{.dp = 2, .tp = 2}, true, Recompute::kSelective, DType::kBFloat16});
    check_module(
        setup, [&](const Wholes& values) { return embedded(values, class_token); }, runs);
  }
}

// The tokens of the chosen patches are those that the whole sequence has of them, the class token's too.
TEST(PatchEmbeddingTest, OfVisiblePatchesHasTheirTokensOfTheWholeSequence) {
  constexpr int64_t kVisible = 3;
  const std::vector<int32_t> visible{2, 0, 3, 1, 3, 2};  // [kBatch, kVisible]
  for (const bool class_token : {false, true}) {
    SCOPED_TRACE(fmt::format("class token {}", class_token));
    const PatchEmbedding::Config config{
        .size = kSize, .patch = kPatch, .width = kWidth, .class_token = class_token, .visible = kVisible};
    EXPECT_EQ(config.sequence(), kVisible + class_token);
    ModuleSetup setup;
    setup.batch = kBatch;
    setup.make = [&](ParameterStore& store) -> Module {
      return [&, embedding = PatchEmbedding(store, "image", config)](std::span<const Variable>, const Pass& pass,
                                                                     const Range& rows) {
        const Tensor all = Tensor::from<uint8_t>(pass.device, Shape{kBatch, kSize, kSize, kColors}, pixels());
        const Tensor chosen = Tensor::from<int32_t>(pass.device, Shape{kBatch, kVisible}, visible);
        const Variable x = embedding.forward_visible(all.slice(0, rows.begin, rows.length),
                                                     chosen.slice(0, rows.begin, rows.length), pass);
        EXPECT_EQ(x.layout(), pass.layout("stream"));
        return x;
      };
    };
    const auto reference = [&](const Wholes& values) {
      const Rows whole = embedded(values, class_token);
      const std::size_t first = class_token ? 1 : 0;
      Rows y;
      const auto take = [&](std::size_t b, std::size_t s) {
        const auto row = whole.begin() + static_cast<std::ptrdiff_t>((b * (kPatches + first) + s) * kWidth);
        y.insert(y.end(), row, row + kWidth);
      };
      for (std::size_t b = 0; b < kBatch; ++b) {
        if (class_token) take(b, 0);
        for (std::size_t k = 0; k < kVisible; ++k) {
          take(b, first + static_cast<std::size_t>(visible[b * kVisible + k]));
        }
      }
      return y;
    };
    std::vector<ParallelRun> runs = kParallelRuns;
    runs.push_back({{.dp = 2, .tp = 2}, true, Recompute::kSelective, DType::kBFloat16});
    check_module(setup, reference, runs);
  }
}

}  // namespace
}  // namespace triptych::test
