#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "data/captions.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "evaluation/inference.h"
#include "parallel/in_process_group.h"
#include "support/gradient_check.h"
#include "support/tolerance.h"
#include "tasks/explain.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"

namespace triptych::test {
namespace {

const std::string kImage =
    "model.image = {size = 12, patch = 4, width = 16, layers = 2, heads = 2, feed_forward = 20}\n";
const std::string kText =
    "model.text = {length = 9, vocabulary = 41, width = 12, layers = 2, heads = 2, feed_forward = 18}\n";

std::string fused(const std::string& fusion, const std::string& more = "") {
  return "task = \"answer\"\nmodel.answers = 3\n" + kImage + kText + "model.fusion = {" + fusion +
         ", width = 12, layers = 2, heads = 2, feed_forward = 18}\n" + more;
}

std::string language(const std::string& connector, const std::string& more = "") {
  return "task = \"language\"\n" + kImage + kText + "model.connector = {" + connector + "}\n" + more;
}

struct Case {
  std::string name, config, text;
  std::vector<std::string> maps;
  bool has_words = false;
};

const std::vector<Case>& cases() {
  const std::vector<std::string> relevant{"rollout", "relevance"}, rolled{"rollout"};
  static const std::vector<Case> all{
      {"classify", "task = \"classify\"\nmodel.classes = 3\n" + kImage, "", relevant, false},
      {"contrastive", "task = \"contrastive\"\nmodel.embedding = 8\n" + kImage + kText, "is it red?", relevant, false},
      {"caption", "task = \"caption\"\n" + kImage + kText, "a cat", rolled, true},
      {"coca",
       "task = \"coca\"\nmodel.embedding = 8\nmodel.pool_queries = 3\nmodel.multimodal_layers = 1\n" + kImage + kText,
       "a cat", relevant, true},
      {"concatenation", fused("kind = \"concatenation\""), "is it red?", relevant, false},
      {"gated", fused("kind = \"gated\""), "is it red?", relevant, false},
      {"both ways", fused("kind = \"cross_attention\""), "is it red?", relevant, false},
      {"one way", fused("kind = \"cross_attention\", attention = \"text_to_image\""), "is it red?", relevant, false},
      {"resampled", fused("kind = \"cross_attention\"", "model.connector = {kind = \"resampler\", queries = 5}\n"),
       "is it red?", relevant, false},
      {"prefix", language("kind = \"mlp\""), "a cat", rolled, true},
      {"resampled prefix", language("kind = \"resampler\", queries = 5"), "a cat", rolled, true},
      {"gated layers", language("kind = \"gated_cross_attention\", gate = 0.5"), "a cat", rolled, true},
      {"answers", language("kind = \"mlp\"", "objective.target = \"answer\"\n"), "is it red?", rolled, true}};
  return all;
}

std::shared_ptr<const Tokenizer> tokenizer() {
  static const ScratchFolder folder;
  static const std::shared_ptr<const Dataset> data = make_data_set(folder / "texts", 4, [](uint64_t i) {
    const std::vector<std::string> texts{"what is it?", "a cat", "is it red?", "feline yes"};
    return SmallSample{.image = {}, .captions = {texts[i]}};
  });
  static const std::shared_ptr<const Tokenizer> made =
      Tokenizer::from_bytes(train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                            {.vocabulary = 30, .character_coverage = 1}),
                            "test");
  return made;
}

std::vector<std::byte> picture() {
  std::vector<uint8_t> pixels;
  for (int k = 0; k < 14 * 13 * 3; ++k) pixels.push_back(static_cast<uint8_t>(37 * (k + 3) * (k + 11) % 251));
  return encode_png(14, 13, pixels);
}

// What every rank finds.
std::vector<Explanation> explained(const Case& one, const MeshShape& mesh = {}) {
  const int num_ranks = mesh.pp * mesh.dp * mesh.cp * mesh.tp;
  std::vector<Explanation> found(static_cast<std::size_t>(num_ranks));
  run_ranks(num_ranks, [&](Group& world) {
    RunConfig config = parse_run_config(one.config, "run.toml", standard_tasks());
    config.parallel.mesh = mesh;
    config.parallel.microbatches = mesh.pp;
    config.parallel.sequence_parallel = false;
    Session session(config, world, RankPlace{});
    // Heads begin at 0, where nothing is relevant. They are whole on every rank.
    for (Parameter* p : session.store().all()) {
      if (!p->name.ends_with("head.weight")) continue;
      const std::vector<float> values = random_values(p->name, p->global_shape.num_elements(), 0.5);
      p->value.copy_from(Tensor::from<float>(session.device(), p->global_shape, values));
    }
    session.store().refresh_compute_copies();
    Inference inference(session.device(), session.mesh(), session.executor(), {.batch = 4});
    found[static_cast<std::size_t>(world.rank())] =
        config.task->explain(inference, {.name = "picture",
                                         .image = picture(),
                                         .text = one.text,
                                         .class_number = {},
                                         .class_names = {"no", "yes", "cat"},
                                         .tokenizer = one.text.empty() ? nullptr : tokenizer()});
  });
  return found;
}

std::vector<double> numbers_of(const std::vector<PatchMap>& maps) {
  std::vector<double> all;
  for (const PatchMap& map : maps) all.insert(all.end(), map.values.begin(), map.values.end());
  return all;
}

std::vector<double> numbers_of(const std::vector<Explanation::Layer>& layers) {
  std::vector<double> all;
  for (const Explanation::Layer& layer : layers) {
    const std::vector<double> heads = numbers_of(layer.heads);
    all.insert(all.end(), heads.begin(), heads.end());
  }
  return all;
}

class ExplainOnMeshes : public testing::TestWithParam<std::size_t> {};

// Heads of all ranks, attentions of all stages, gradients through all stages: the maps of one rank, on every rank.
TEST_P(ExplainOnMeshes, EveryRankHasTheMapsOfOne) {
  const Case& one = cases()[GetParam()];
  SCOPED_TRACE(one.name);
  const Explanation alone = explained(one)[0];
  std::vector<std::string> names;
  for (const PatchMap& map : alone.maps) {
    names.push_back(map.name);
    ASSERT_EQ(map.values.size(), 9u);
    EXPECT_GT(*std::ranges::max_element(map.values), 0) << map.name;
  }
  EXPECT_EQ(names, one.maps);
  EXPECT_TRUE(one.has_words || alone.words.empty());
  for (const MeshShape& mesh : {MeshShape{.dp = 3}, MeshShape{.tp = 2}, MeshShape{.pp = 2}, MeshShape{.pp = 3},
                                MeshShape{.pp = 2, .dp = 2, .tp = 2}, MeshShape{.cp = 2, .tp = 2}}) {
    SCOPED_TRACE(fmt::format("pp {} dp {} cp {} tp {}", mesh.pp, mesh.dp, mesh.cp, mesh.tp));
    for (const Explanation& found : explained(one, mesh)) {
      EXPECT_EQ(found.subject, alone.subject);
      EXPECT_EQ(found.text, alone.text);
      ASSERT_EQ(found.maps.size(), alone.maps.size());
      ASSERT_EQ(found.words.size(), alone.words.size());
      EXPECT_LT(relative_error(numbers_of(found.maps), numbers_of(alone.maps)), kBetweenMeshes);
      EXPECT_LT(relative_error(numbers_of(found.layers), numbers_of(alone.layers)), kBetweenMeshes);
      if (!alone.words.empty()) {
        EXPECT_LT(relative_error(numbers_of(found.words), numbers_of(alone.words)), kBetweenMeshes);
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(AllKinds, ExplainOnMeshes, testing::Range<std::size_t>(0, 13));

// Weights of rows that sum to 1: words of a decoder that attends across have all of it on the patches, one whose text
// stands behind the picture's tokens gives a part to the text.
TEST(ExplainedWords, AreWeightsOfThePatches) {
  for (const Case& one : cases()) {
    if (!one.has_words || one.name == "answers") continue;
    SCOPED_TRACE(one.name);
    const Explanation found = explained(one)[0];
    ASSERT_EQ(found.words.size(), 2u);
    EXPECT_EQ(found.words[0].name, "a");
    EXPECT_EQ(found.words[1].name, "cat");
    for (const PatchMap& word : found.words) {
      double sum = 0;
      for (const double value : word.values) sum += value;
      if (one.name.find("prefix") != std::string::npos) {
        EXPECT_GT(sum, 0);
        EXPECT_LT(sum, 1);
      } else if (one.name != "gated layers") {  // the image encoder's class token has a part there
        EXPECT_NEAR(sum, 1, 1e-9);
      }
    }
  }
}

// Another question, another map, but for the fusion that pools both before it mixes them: there only the scale differs.
TEST(ExplainedAnswers, DependOnTheQuestion) {
  for (Case one : cases()) {
    if (!one.config.starts_with("task = \"answer\"")) continue;
    SCOPED_TRACE(one.name);
    const std::vector<double> first = explained(one)[0].maps[1].values;
    one.text = "what is it?";
    EXPECT_GT(relative_error(explained(one)[0].maps[1].values, first), 1e-6);
  }
}

}  // namespace
}  // namespace triptych::test
