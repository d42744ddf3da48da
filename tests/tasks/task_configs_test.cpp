#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "small_tasks.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

struct WrongConfig {
  std::string task, text;
  std::vector<std::string> says;  // all of them, at once
};

TEST(StandardTasks, AWrongValueIsToldWithItsKey) {
  const std::string head = "model.image.width = 600\nmodel.image.heads = 1";
  const std::vector<WrongConfig> cases{
      {"contrastive",
       "model.embedding = 0\nmodel.image.pooling = \"last\"\nmodel.text.attention = \"none\"\nobjective.kind = \"l2\"",
       {"model.embedding", "at least 2", "model.image.pooling", "class, mean", "model.text.attention",
        "causal, bidirectional", "objective.kind", "infonce, sigmoid"}},
      {"contrastive",
       "objective.temperature = 0.01\nobjective.minimum_temperature = 0.02",
       {"objective.temperature", "0.02"}},
      {"contrastive",
       "model.dropout = 1.0\nmodel.image.size = 20\nmodel.image.patch = 3\nmodel.text.width = 30\nmodel.text.heads = 4",
       {"model.dropout", "model.image.patch", "patch 3, size 20", "model.text.heads", "4 heads, width 30"}},
      {"classify",
       "model.classes = 1\nobjective.label_smoothing = 1.0",
       {"model.classes", "at least 2", "objective.label_smoothing", "below 1"}},
      {"classify", head, {"model.image.heads", "600 / 1 = 600"}},
      {"classify",
       "model.image.activation = \"relu\"\nmodel.image.norm = \"batch\"\nmodel.image.norm_position = \"middle\"\n"
       "model.image.positions = \"relative\"\nmodel.image.norm_epsilon = 0.0\nmodel.image.drop_path = 1.0",
       {"model.image.activation", "gelu, gelu_tanh, gelu_quick, swiglu", "model.image.norm`", "layer, rms",
        "model.image.norm_position", "pre, post", "model.image.positions", "learned, sinusoidal, rotary, none",
        "model.image.norm_epsilon", "model.image.drop_path"}},
      {"classify", "model.image.heads = 6\nmodel.image.width = 60\nmodel.image.kv_heads = 4", {"4 of 6 heads"}},
      {"caption",
       "parallel.tp = 2\nmodel.text.heads = 4\nmodel.text.kv_heads = 1",
       {"model.text.kv_heads", "multiple of parallel.tp: 1 heads, tp = 2"}},
      {"contrastive",
       "model.image.width = 36\nmodel.image.heads = 6\nmodel.image.positions = \"rotary\"\n"
       "model.text.width = 35\nmodel.text.heads = 5\nmodel.text.positions = \"rotary\"",
       {"rotary needs heads of a multiple of 4 columns, found 36 / 6 = 6",
        "rotary needs heads of a multiple of 2 columns, found 35 / 5 = 7"}},
      {"contrastive",
       "model.image.width = 30\nmodel.image.heads = 3\nmodel.image.positions = \"sinusoidal\"",
       {"sinusoidal needs a width that is a multiple of 4, found 30"}},
      {"classify",
       "data.augment.min_scale = 0.0\ndata.augment.flip_probability = 2.0",
       {"data.augment.min_scale", "data.augment.flip_probability"}},
      {"caption",
       "decoding.beams = 0\ndecoding.alpha = -1.0\ndecoding.prompts = []\nmodel.text.length = 1",
       {"decoding.beams", "decoding.alpha", "decoding.prompts", "model.text.length"}},
      {"caption",
       "parallel.tp = 3\nmodel.text.heads = 3\nmodel.text.width = 30\nmodel.image.heads = 3\n"
       "model.image.width = 30\nmodel.image.feed_forward = 31\nmodel.text.feed_forward = 33\n"
       "model.text.vocabulary = 40",
       {"model.image.feed_forward", "31, tp = 3", "model.text.vocabulary", "40 tokens, tp = 3"}},
      {"masked_image",
       "objective.visible_share = 1.0\nmodel.decoder.heads = 3\nmodel.decoder.width = 32",
       {"objective.visible_share", "below 1", "model.decoder.heads", "3 heads, width 32"}},
      {"masked_image",
       "model.image.size = 12\nmodel.image.patch = 6\nobjective.visible_share = 0.2",
       {"objective.visible_share", "0 of 4 patches"}},
      {"masked_image", "model.image.positions = \"rotary\"", {"model.image.positions", "must not be rotary"}},
      {"masked_text",
       "model.text.length = 2\nmodel.text.vocabulary = 5\nobjective.share = 0.0\nobjective.mask_share = 0.9\n"
       "objective.random_share = 0.2",
       {"model.text.length", "at least 3", "model.text.vocabulary", "at least 6", "objective.share",
        "objective.random_share", "0.2 > 1 - 0.9"}},
      {"answer",
       "model.answers = 1\nmodel.connector.kind = \"bridge\"\nmodel.connector.queries = 0\n"
       "model.fusion.kind = \"sum\"\nmodel.fusion.attention = \"none\"\nmodel.fusion.positions = \"learned\"",
       {"model.answers", "at least 2", "model.connector.kind", "none, linear, mlp, resampler",
        "model.connector.queries", "model.fusion.kind", "concatenation, gated, cross_attention",
        "model.fusion.attention", "both_ways, text_to_image", "model.fusion.positions", "must be none or rotary"}},
      {"align",
       "model.fusion.kind = \"gated\"\nobjective.matching_group = 1\nobjective.matching_weight = 0.0\n"
       "objective.masked_share = 0.0\nmodel.text.vocabulary = 5",
       {"objective.masked_weight", "fusion gated", "objective.matching_group", "at least 2",
        "objective.matching_weight", "objective.masked_share", "model.text.vocabulary", "at least 6"}},
      {"align", "model.fusion.width = 128", {"objective.masked_weight", "width 128 of 256"}},
      {"language",
       "model.connector.kind = \"bridge\"\nmodel.connector.queries = 0\nmodel.connector.every = 0\n"
       "objective.target = \"question\"\ndecoding.methods = [\"sample\"]\ndecoding.top_p = 0.0\n"
       "decoding.temperature = 0.0",
       {"model.connector.kind", "none, linear, mlp, resampler, gated_cross_attention", "model.connector.queries",
        "model.connector.every", "objective.target", "caption, answer", "decoding.methods", "greedy, beam, nucleus",
        "decoding.top_p", "decoding.temperature"}},
      {"detect",
       "model.classes = 0\nmodel.queries = 0\nmodel.decoder.positions = \"rotary\"\nobjective.class_weight = -1\n"
       "objective.nothing_weight = -1\nobjective.l1_weight = -1\nobjective.giou_weight = 1e9",
       {"model.classes", "model.queries", "model.decoder.positions", "must be none", "objective.class_weight",
        "objective.nothing_weight", "objective.l1_weight", "objective.giou_weight"}},
      {"align",
       "model.text.length = 2\nobjective.contrastive_weight = 1e5",
       {"model.text.length", "at least 3", "objective.contrastive_weight", "at most 10000"}},
      {"language",
       "objective.target = \"answer\"\ndecoding.prompts = [\"en:\"]",
       {"decoding.prompts", "its question, found en:"}},
      {"ground",
       "objective.l1_weight = 0\nobjective.giou_weight = 0",
       {"objective.l1_weight", "nothing teaches boxes"}},
      {"ground", "model.text.length = 1\nobjective.l1_weight = -1", {"model.text.length", "objective.l1_weight"}},
      {"coca",
       "model.pool_queries = 0\nmodel.multimodal_layers = 0\nobjective.caption_weight = 0.0\n"
       "objective.contrastive_weight = -1.0",
       {"model.pool_queries", "model.multimodal_layers", "objective.caption_weight", "objective.contrastive_weight"}},
  };
  for (const WrongConfig& wrong : cases) {
    const std::string text = fmt::format("task = \"{}\"\n{}", wrong.task, wrong.text);
    const std::string error = user_error_of([&] { parse_run_config(text, "run.toml", standard_tasks()); });
    expect_parts(error, wrong.says);
  }
}

// Crops that cannot be drawn: each number is in its range, together they are not.
TEST(StandardTasks, AugmentationsThatExcludeEachOtherAreRefused) {
  for (const TaskKind& kind : standard_tasks()) {
    if (!learns_from_images(kind.name)) continue;
    const std::string text = config_of(std::string(kind.name)) +
                             "data.augment = {min_scale = 0.9, max_scale = 0.5, min_ratio = 2, max_ratio = 1.5}\n";
    const std::string error = user_error_of([&] { parse_run_config(text, "run.toml", standard_tasks()); });
    EXPECT_NE(error.find("data.augment.max_scale: 0.9 > 0.5"), std::string::npos) << kind.name << ": " << error;
    EXPECT_NE(error.find("data.augment.max_ratio: 2 > 1.5"), std::string::npos) << kind.name << ": " << error;
  }
}

}  // namespace
}  // namespace triptych::test
