#pragma once

#include <string>

#include <fmt/core.h>

#include "base/rooms.h"

namespace triptych::test {

// Dropout, sequences of 10 and 7 tokens, heads and vocabularies that only 2 divides: little that falls out evenly.
inline constexpr const char* kImage = R"(
[model.image]
size = 12
patch = 4
width = 20
heads = 2
feed_forward = 26
)";
inline constexpr const char* kText = R"(
[model.text]
length = 7
vocabulary = 38
width = 20
layers = 3
heads = 2
feed_forward = 26
)";

/// Every fusion, with every connector.
inline std::string fusion_of(int turn, int width) {
  const char* kinds[] = {"concatenation", "gated", "cross_attention"};
  const char* connectors[] = {"none", "linear", "mlp", "resampler"};
  const std::string fusion = fmt::format(
      "[model.fusion]\nkind = \"{}\"\nattention = \"{}\"\nwidth = {}\nlayers = 2\nheads = 2\nfeed_forward = 18\n",
      kinds[turn % 3], turn % 2 == 0 ? "both_ways" : "text_to_image", width);
  return fmt::format("[model.connector]\nkind = \"{}\"\nqueries = 3\nlayers = 1\n", connectors[turn % 4]) + fusion;
}

/// A small config of a standard task; `turn` chooses between the values of its own switches.
inline std::string config_of(const std::string& task, int turn) {
  const std::string pooling = turn % 2 == 0 ? "pooling = \"class\"\n" : "pooling = \"mean\"\n";
  const std::string objective = fmt::format("[objective]\nkind = \"{}\"\n", turn % 3 == 0 ? "sigmoid" : "infonce");
  const std::string attention = fmt::format("attention = \"{}\"\n", turn % 5 < 3 ? "bidirectional" : "causal");
  const std::string text =
      fmt::format("task = \"{}\"\nrun.seed = 7\ntraining.global_batch = 24\nmodel.dropout = 0.1\n", task);
  // A decoder that is most of the model: two stages already cut it, and have the two ends of its tied weight.
  const bool decodes =
      task == "caption" || task == "coca" || task == "language" || task == "detect" || task == "ground";
  const std::string image = kImage + fmt::format("layers = {}\n", decodes ? 1 : 2);
  if (task == "contrastive") return text + "model.embedding = 9\n" + image + pooling + kText + attention + objective;
  if (task == "classify") return text + "model.classes = 11\n" + image + pooling;
  if (task == "caption") return text + image + kText;
  if (task == "masked_image") {
    return text + image + pooling + "[model.decoder]\nwidth = 12\nlayers = 2\nheads = 2\nfeed_forward = 18\n" +
           fmt::format("[objective]\nvisible_share = {}\nnormalize_patches = {}\n", turn % 5 < 3 ? 0.25 : 0.6,
                       turn % 3 > 0);
  }
  if (task == "detect") {
    const char* const queries =
        turn % 4 < 2 ? "model.queries = 7\n" : "model.queries = 9\nmodel.query_kind = \"patches\"\n";
    return text + "model.classes = 5\n" + queries + image +
           "[model.decoder]\nwidth = 12\nlayers = 2\nheads = 2\nfeed_forward = 18\n" +
           fmt::format("[objective]\nnothing_weight = {}\n", turn % 3 > 0 ? 0.1 : 1.0);
  }
  if (task == "ground") return text + image + kText;
  if (task == "masked_text") {
    return text + fmt::format("model.tied_output = {}\nmodel.transform_output = {}\n", turn % 3 != 1, turn % 4 < 2) +
           kText + "[objective]\nshare = 0.4\n";
  }
  const std::string embedding = "model.embedding = 9\n";
  if (task == "answer") return text + "model.answers = 7\n" + image + kText + fusion_of(turn, 16);
  if (task == "align") {
    // Without masked tokens where a fusion keeps none. Groups that divide the rows of every microbatch.
    return text + embedding + image + kText + fusion_of(turn, 20) + objective +
           fmt::format("matching_group = 3\nmasked_share = 0.4\nmasked_weight = {}\n", turn % 3 == 1 ? 0 : 1.5);
  }
  if (task == "language") {
    const char* kinds[] = {"none", "linear", "mlp", "resampler", "gated_cross_attention"};
    const std::string connector =
        fmt::format("[model.connector]\nkind = \"{}\"\nqueries = 3\nlayers = 1\nevery = 2\ngate = 0.5\nresample = {}\n",
                    kinds[turn % 5], turn % 2 == 0);
    return text +
           fmt::format("model.tied_output = {}\nobjective.target = \"{}\"\n", turn % 3 != 1,
                       turn % 4 < 2 ? "caption" : "answer") +
           image + pooling + kText + connector;
  }
  return text + embedding + "model.pool_queries = 5\nmodel.multimodal_layers = 2\n" + image + kText + objective;
}

}  // namespace triptych::test
