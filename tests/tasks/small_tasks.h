#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include <gtest/gtest.h>

#include "data/captions.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "evaluation/inference.h"
#include "parallel/in_process_group.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"

// Small configs of the tasks, data sets for them, and what an evaluation finds.

namespace triptych::test {

using Names = std::vector<std::string>;

inline const std::string kImage =
    "model.image = {size = 12, patch = 4, width = 16, layers = 1, heads = 2, feed_forward = 20}\n";
inline const std::string kText =
    "model.text = {length = 7, vocabulary = 41, width = 12, layers = 1, heads = 2, feed_forward = 18}\n";

inline const std::string kDecoder = "model.decoder = {width = 8, layers = 1, heads = 2, feed_forward = 12}\n";
inline const std::string kFusion = "model.fusion = {width = 12, layers = 1, heads = 2, feed_forward = 18}\n";

/// A small model of a task.
inline std::string config_of(const std::string& task) {
  const std::string first = fmt::format("task = \"{}\"\n", task);
  if (task == "classify") return first + "model.classes = 7\n" + kImage;
  if (task == "masked_image") return first + kImage + kDecoder;
  if (task == "masked_text") return first + kText;
  if (task == "answer") return first + "model.answers = 7\n" + kImage + kText + kFusion;
  if (task == "align") return first + kImage + kText + kFusion;
  if (task == "language") return first + "model.connector = {kind = \"mlp\"}\n" + kImage + kText;
  if (task == "detect") return first + "model.classes = 4\nmodel.queries = 5\n" + kImage + kDecoder;
  return first + kImage + kText;
}

/// Whether the samples of a task need an image.
inline bool learns_from_images(std::string_view task) {
  return task != "masked_text";
}

/// A picture that is no other's.
inline std::vector<std::byte> noise(uint64_t i, uint32_t width = 14, uint32_t height = 13) {
  std::vector<uint8_t> pixels;
  for (uint64_t k = 0; k < uint64_t{width} * height * 3; ++k)
    pixels.push_back(static_cast<uint8_t>((i + 1) * 37 * (k + 3) % 251));
  return encode_png(width, height, pixels);
}

/// A tokenizer of the captions of a data set.
inline std::shared_ptr<const Tokenizer> tokenizer_of(const std::shared_ptr<const Dataset>& data, int64_t vocabulary) {
  return Tokenizer::from_bytes(train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                               {.vocabulary = vocabulary, .character_coverage = 1}),
                               "test");
}

/// Pictures with captions and labels, all or in part; made once.
struct SmallSets {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> whole = make_data_set(folder / "all_of_it", 11, [](uint64_t i) {
    return SmallSample{noise(i), {fmt::format("picture {}", i), "a picture"}, static_cast<int64_t>(i % 5)};
  });
  std::shared_ptr<const Dataset> unlabelled = make_data_set(folder / "unlabelled", 3, [](uint64_t i) {
    return SmallSample{noise(i), {"a picture"}};
  });
  std::shared_ptr<const Dataset> wordless = make_data_set(folder / "wordless", 3, [](uint64_t i) {
    return SmallSample{noise(i), {}, 1};
  });
  // Of 11: two without a picture, one without captions, and labels alone where there is no picture.
  std::shared_ptr<const Dataset> partly = make_data_set(folder / "in_part", 11, [](uint64_t i) {
    const bool has_image = i != 2 && i != 9;
    const auto label = i % 2 == 0 ? std::optional<int64_t>(3) : std::nullopt;
    return SmallSample{has_image ? noise(i) : std::vector<std::byte>(),
                       i == 4 ? Names{} : Names{fmt::format("picture {}", i), "a picture"}, label};
  });
  // Each has a picture or a text, with a label where it has the text.
  std::shared_ptr<const Dataset> apart = make_data_set(folder / "apart", 6, [](uint64_t i) {
    if (i % 2 == 0) return SmallSample{noise(i), {}};
    return SmallSample{{}, {"a picture"}, 1};
  });
  std::shared_ptr<const Dataset> one_pair = make_data_set(folder / "one_pair", 3, [](uint64_t i) {
    return SmallSample{noise(i), i == 1 ? Names{"a picture"} : Names{}, 1};
  });
  std::shared_ptr<const Dataset> blind = make_data_set(folder / "blind", 3, [](uint64_t) {
    return SmallSample{{}, {"a picture"}, 1};
  });
  std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(whole, 40);
};

inline const SmallSets& small_sets() {
  static const SmallSets all;
  return all;
}

/// What rank 0 finds with a model that was not trained.
struct Found {
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<Panel> panels;

  Names names() const {
    Names names;
    for (const auto& metric : metrics) names.push_back(metric.first);
    return names;
  }
  Names titles() const {
    Names titles;
    for (const Panel& panel : panels) std::visit([&](const auto& p) { titles.push_back(p.title); }, panel);
    return titles;
  }
  double metric(const std::string& name) const {
    for (const auto& metric : metrics) {
      if (metric.first == name) return metric.second;
    }
    ADD_FAILURE() << "no " << name;
    return 0;
  }
};

inline void append(Names& names, const Names& more) {
  names.insert(names.end(), more.begin(), more.end());
}

/// Of what is written about a picture, and of what is written without one.
inline Names caption_metrics(const std::string& of) {
  Names names;
  for (const char* mode : {"", ", text only"}) {
    for (const char* metric : {"chrF", "BLEU", "CIDEr-D", "exact"}) {
      names.push_back(fmt::format("{} {}{}", of, metric, mode));
    }
  }
  return names;
}

///   prepare   changes the model first
///   maps      pictures of a set with maps
inline Found evaluate(const std::string& text, int num_ranks, const Names& paths,
                      const std::shared_ptr<const Tokenizer>& tokenizer = small_sets().tokenizer,
                      const std::function<void(Session&)>& prepare = {}, int64_t maps = 1) {
  Found found;
  run_ranks(num_ranks, [&](Group& world) {
    RunConfig config = parse_run_config(text, "run.toml", standard_tasks());
    config.parallel.mesh.dp = num_ranks;
    Session session(config, world, RankPlace{});
    if (prepare) prepare(session);
    Inference inference(session.device(), session.mesh(), session.executor(),
                        {.batch = 4, .text_role = config.task->text_role()});
    EvaluationResults results =
        config.task->evaluate(inference, {.sets = paths, .tokenizer = tokenizer, .baselines = {}, .maps = maps});
    if (inference.is_first()) found = {std::move(results.metrics), std::move(results.panels)};
  });
  return found;
}

}  // namespace triptych::test
