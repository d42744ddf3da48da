#include "evaluation/inference.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/field_sources.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "evaluation/retrieval.h"
#include "models/two_tower.h"
#include "objectives/contrastive.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr int64_t kSize = 6, kLength = 9, kVocabulary = 26, kEmbedding = 5;
constexpr uint64_t kSamples = 13, kWithoutImage = 4, kBroken = 7;

std::string caption(uint64_t sample, uint64_t k) {
  return std::string(1 + sample % 5, static_cast<char>('a' + sample)) + static_cast<char>('n' + k);
}

std::shared_ptr<const Dataset> small_set(const ScratchFolder& folder) {
  return make_data_set(folder / "set", kSamples, [](uint64_t i) {
    SmallSample sample{.image = i == kWithoutImage ? std::vector<std::byte>()
                                : i == kBroken     ? broken_image()
                                                   : sound_image(i),
                       .captions = {}};
    for (uint64_t k = 0; k < (i + 2) % 4; ++k) sample.captions.push_back(caption(i, k));
    return sample;
  });
}

// A letter a token, and a token 0 at the end.
int32_t write_letters(std::string_view text, std::span<int32_t> tokens) {
  std::fill(tokens.begin(), tokens.end(), 0);
  for (std::size_t t = 0; t < text.size(); ++t) tokens[t] = text[t] - 'a';
  return static_cast<int32_t>(text.size()) + 1;
}

FieldSource letters_field() {
  class Filler : public RowFiller {
   public:
    void fill(const LoadedSample& sample, FieldRows rows) override {
      values_of<int32_t>(rows[1])[0] = write_letters(sample.caption_text(), values_of<int32_t>(rows[0]));
    }
    void clear(FieldRows rows) override {
      values_of<int32_t>(rows[1])[0] = write_letters("", values_of<int32_t>(rows[0]));
    }
  };
  return {.fields = {{.name = "tokens", .dtype = DType::kInt32, .dims = Shape{kLength}},
                     {.name = "lengths", .dtype = DType::kInt32, .dims = {}}},
          .reads = SampleParts::kCaptions,
          .make = [] { return std::make_unique<Filler>(); },
          .synthesize = nullptr};
}

ModelSpec small_towers() {
  return two_tower(
      {.image = {.size = kSize, .patch = 3, .sizes = {.width = 6, .layers = 1, .heads = 2, .feed_forward = 10}},
       .text = {.length = kLength,
                .vocabulary = kVocabulary,
                .sizes = {.width = 8, .layers = 1, .heads = 2, .feed_forward = 6}},
       .embedding = kEmbedding});
}

// One rank's model, ready to infer.
struct Ready {
  Ready(Group& world, const MeshShape& shape, int64_t batch)
      : rank(world, shape, small_towers(), {contrastive_objective({})}, gpipe({shape.pp, 1, 1, LossCoupling::kCoupled}),
             {.seed = 9}),
        inference(rank.device, rank.mesh, rank.executor, {.batch = batch, .threads = 2}) {}

  RankModel rank;
  Inference inference;
};

// All rows, one call's after the other.
InferredRows run_all(Ready& ready, const std::shared_ptr<const Dataset>& dataset, EvaluationItems items,
                     const std::vector<std::string>& outputs, const std::vector<std::string>& fields = {}) {
  const std::vector<FieldSource> sources{pixels_field(kSize), letters_field()};
  InferredRows all;
  ready.inference.run(
      dataset, sources, items, outputs,
      [&](const InferredRows& rows) {
        EXPECT_EQ(rows.first_item, static_cast<uint64_t>(all.num_items)) << "in order, without a gap";
        EXPECT_LE(rows.num_items, ready.inference.options().batch + ready.rank.mesh.size(Axis::kDp) - 1);
        all.num_items += rows.num_items;
        all.image_present.insert(all.image_present.end(), rows.image_present.begin(), rows.image_present.end());
        all.text_present.insert(all.text_present.end(), rows.text_present.begin(), rows.text_present.end());
        for (const auto& [name, bytes] : rows.fields) {
          EXPECT_EQ(rows.field_row<std::byte>(name, rows.num_items - 1).data() +
                        rows.field_row<std::byte>(name, rows.num_items - 1).size(),
                    bytes.data() + bytes.size());
          all.fields[name].insert(all.fields[name].end(), bytes.begin(), bytes.end());
        }
        for (const auto& [name, values] : rows.outputs) {
          EXPECT_EQ(values.size(), static_cast<std::size_t>(rows.num_items * kEmbedding));
          all.outputs[name].insert(all.outputs[name].end(), values.begin(), values.end());
        }
      },
      fields);
  EXPECT_EQ(all.outputs.size(), outputs.size());
  EXPECT_EQ(all.fields.size(), fields.size());
  return all;
}

class InferenceOverADataSet : public ::testing::TestWithParam<MeshShape> {};

TEST_P(InferenceOverADataSet, EveryItemHasItsRowOnEveryRank) {
  const MeshShape& shape = GetParam();
  const ScratchFolder folder;
  const std::shared_ptr<const Dataset> dataset = small_set(folder);
  const double bound = 2 * tolerance(DType::kFloat32).summed;
  run_ranks(shape.pp * shape.dp * shape.cp * shape.tp, [&](Group& world) {
    const std::unique_ptr<Group> self = make_self_group("reference");
    Ready reference(*self, {}, 1), ready(world, shape, 5);

    // Captions one by one, without a loader. Those of a sample that cannot be used are rows without a text.
    std::vector<float> expected;
    std::vector<int64_t> samples;
    for (uint64_t i = 0; i < kSamples; ++i) {
      for (uint64_t k = 0; k < (i + 2) % 4; ++k) {
        std::vector<int32_t> tokens(kLength);
        const int32_t length = write_letters(i == kBroken ? "" : caption(i, k), tokens);
        Fields fields(1);
        fields.set("tokens", Tensor::from<int32_t>(reference.rank.device, Shape{1, kLength}, tokens));
        fields.set("lengths", Tensor::from<int32_t>(reference.rank.device, Shape{1}, std::span(&length, 1)));
        const std::vector<float> row = reference.inference.infer(fields, "text_embedding");
        expected.insert(expected.end(), row.begin(), row.end());
        samples.push_back(static_cast<int64_t>(i));
      }
    }
    // Fields come with the slots, those that the slots do not need too.
    const InferredRows captions =
        run_all(ready, dataset, EvaluationItems::kCaptions, {"text_embedding"}, {"tokens", "pixels"});
    EXPECT_EQ(captions.fields.at("pixels").size(), samples.size() * kSize * kSize * 3);
    for (std::size_t i = 0, item = 0; i < kSamples; ++i) {
      for (uint64_t k = 0; k < (i + 2) % 4; ++k, ++item) {
        std::vector<int32_t> tokens(kLength);
        write_letters(i == kBroken ? "" : caption(i, k), tokens);
        EXPECT_TRUE(std::ranges::equal(captions.field_row<int32_t>("tokens", static_cast<int64_t>(item)), tokens));
      }
    }
    EXPECT_EQ(captions.num_items, static_cast<int64_t>(samples.size()));
    EXPECT_LT(relative_error(captions.outputs.at("text_embedding"), expected), bound);
    EXPECT_EQ(samples_of_captions(*dataset), samples);
    for (std::size_t i = 0; i < samples.size(); ++i) {
      EXPECT_EQ(captions.text_present[i], samples[i] != static_cast<int64_t>(kBroken)) << i;
    }

    const std::vector<std::string> both{"text_embedding", "image_embedding"};
    const InferredRows one = run_all(reference, dataset, EvaluationItems::kSamples, both);
    const InferredRows rows = run_all(ready, dataset, EvaluationItems::kSamples, both);
    ASSERT_EQ(rows.num_items, static_cast<int64_t>(kSamples));
    for (uint64_t i = 0; i < kSamples; ++i) {
      EXPECT_EQ(rows.image_present[i], i != kWithoutImage && i != kBroken) << i;
      EXPECT_EQ(rows.text_present[i], (i + 2) % 4 != 0 && i != kBroken) << i;
    }
    EXPECT_EQ(one.image_present, rows.image_present);
    for (const std::string& name : both) {
      EXPECT_LT(relative_error(rows.outputs.at(name), one.outputs.at(name)), bound) << name;
    }

    // What is not there has no embedding; the others are unit vectors.
    const std::vector<FieldSource> sources{pixels_field(kSize), letters_field()};
    const Embeddings images = embed(ready.inference, dataset, sources, EvaluationItems::kSamples, "image_embedding");
    ASSERT_EQ(images.width, kEmbedding);
    ASSERT_EQ(images.count(), static_cast<int64_t>(kSamples));
    for (uint64_t i = 0; i < kSamples; ++i) {
      double squares = 0;
      for (uint64_t e = 0; e < kEmbedding; ++e) squares += std::pow(images.rows[i * kEmbedding + e], 2);
      EXPECT_NEAR(squares, i != kWithoutImage && i != kBroken ? 1 : 0, tolerance(DType::kFloat32).summed) << i;
    }
  });
}

TEST(Inference, AModelMayReadWhatIsPresentItself) {
  const ScratchFolder folder;
  const std::unique_ptr<Group> self = make_self_group("test");
  ModelSpec model = small_towers();
  model.blocks.front().fields.push_back("image_present");
  RankModel rank(*self, {}, model, {contrastive_objective({})}, gpipe({1, 1, 1, LossCoupling::kCoupled}), {.seed = 9});
  Inference inference(rank.device, rank.mesh, rank.executor, {.batch = 4});
  const std::vector<FieldSource> sources{pixels_field(kSize), presence_fields()};
  const std::vector<std::string> outputs{"image_embedding"};
  std::vector<bool> present;
  inference.run(small_set(folder), sources, EvaluationItems::kSamples, outputs, [&](const InferredRows& rows) {
    present.insert(present.end(), rows.image_present.begin(), rows.image_present.end());
  });
  ASSERT_EQ(present.size(), kSamples);
  for (uint64_t i = 0; i < kSamples; ++i) EXPECT_EQ(present[i], i != kWithoutImage && i != kBroken) << i;
}

INSTANTIATE_TEST_SUITE_P(Meshes, InferenceOverADataSet,
                         ::testing::Values(MeshShape{}, MeshShape{.dp = 2}, MeshShape{.dp = 3}, MeshShape{.pp = 2},
                                           MeshShape{.pp = 2, .dp = 2, .tp = 2}, MeshShape{.dp = 2, .cp = 2}),
                         [](const auto& mesh) {
                           return fmt::format("pp{}dp{}cp{}tp{}", mesh.param.pp, mesh.param.dp, mesh.param.cp,
                                              mesh.param.tp);
                         });

}  // namespace
}  // namespace triptych::test
