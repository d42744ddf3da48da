#include "training/new_config.h"

#include <algorithm>
#include <bit>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "data/class_names.h"
#include "data/part_counts.h"
#include "training/run_inputs.h"

namespace triptych::training {
namespace {

constexpr uint64_t kMostSampled = 1000;   // pictures and texts that are looked at
constexpr std::size_t kMostTokens = 512;  // of a text

// How large a model a data set bears: rows of a table of ours, from the sizes that its own examples and the papers of
// docs/towers.md have.
struct SizeRow {
  uint64_t samples;  // at most
  int64_t width, layers, heads;
  double learning_rate;
  int64_t batch, epochs;
};
constexpr SizeRow kSizes[] = {{2'000, 128, 4, 4, 1e-3, 64, 100},
                              {50'000, 256, 6, 4, 1e-3, 128, 50},
                              {1'000'000, 384, 8, 6, 5e-4, 256, 20},
                              {10'000'000, 512, 12, 8, 5e-4, 1024, 10},
                              {100'000'000, 768, 12, 12, 5e-4, 4096, 5}};

// Pictures are scaled to one of these sides, with patches of this side.
constexpr std::pair<int64_t, int64_t> kSides[] = {{16, 4}, {32, 4}, {64, 8}, {96, 8}, {128, 16}, {160, 16}, {224, 16}};

// A string as TOML has it: JSON's escapes are among TOML's.
std::string quoted(const std::string& text) {
  if (!is_utf8(text)) throw UserError(printable(text), "a path in a config must be UTF-8. Rename the folder");
  return nlohmann::json(text).dump();
}

// The values that are chosen, of the keys that the task has: what is set for others is not looked at.
class Choices {
 public:
  Choices(std::string task, TaskTable tasks) : task_(std::move(task)), tasks_(tasks) {
    const RunConfig defaults = config();
    for (std::string_view left = defaults.default_toml; !left.empty();) {
      keys_.emplace(left.substr(0, left.find(" = ")));
      left.remove_prefix(std::min(left.size(), left.find('\n') + 1));
    }
  }

  bool has(const std::string& key) const { return keys_.contains(key); }
  void set(const std::string& key, std::string value, std::string why) {
    if (has(key)) list_.push_back({key, std::move(value), std::move(why)});
  }
  void set(const std::string& key, int64_t value, std::string why) { set(key, std::to_string(value), std::move(why)); }

  /// The config with these values, and `more`.
  RunConfig config(const std::string& more = "") const {
    std::string text = fmt::format("task = {}\n{}", quoted(task_), more);
    for (const Choice& choice : list_) text += fmt::format("{} = {}\n", choice.key, choice.value);
    return parse_run_config(text, "the new config", tasks_);
  }
  /// A line of comment for each.
  std::string comment() const {
    std::size_t width = 0;
    for (const Choice& choice : list_) width = std::max(width, choice.key.size() + choice.value.size() + 3);
    std::string text;
    for (const Choice& choice : list_) {
      text += fmt::format("#   {:<{}}  {}\n", fmt::format("{} = {}", choice.key, choice.value), width, choice.why);
    }
    return text;
  }

 private:
  struct Choice {
    std::string key, value, why;
  };
  std::string task_;
  TaskTable tasks_;
  std::set<std::string> keys_;
  std::vector<Choice> list_;
};

// Every so-manieth number below `size`, kMostSampled at most.
uint64_t stride_of(uint64_t size) {
  return std::max<uint64_t>(1, (size + kMostSampled - 1) / kMostSampled);
}

// What the index knows.
struct DataFacts {
  PartCounts parts;
  int64_t median_side = 0;  // of the pictures' shorter sides; 0: there are none
  int64_t classes = 0;      // that labels, boxes and classes.txt name
  int64_t labels = 0;       // above the largest
  int64_t most_boxes = 0;
};

DataFacts facts_of(const Dataset& dataset) {
  DataFacts facts{.parts = count_parts(dataset), .most_boxes = static_cast<int64_t>(most_boxes(dataset))};
  std::vector<int64_t> sides;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    const SampleRecord record = dataset.record(i);
    if (i % stride_of(dataset.size()) == 0 && record.has_image()) {
      sides.push_back(std::min(record.width, record.height));
    }
    if (record.label) facts.labels = std::max(facts.labels, *record.label + 1);
    for (const BoxRecord& box : record.boxes) facts.classes = std::max<int64_t>(facts.classes, box.class_number + 1);
  }
  const auto names = static_cast<int64_t>(read_class_names(dataset.path()).size());
  facts.classes = std::max({facts.classes, facts.labels, names});
  if (!sides.empty()) {
    std::nth_element(sides.begin(), sides.begin() + static_cast<std::ptrdiff_t>(sides.size() / 2), sides.end());
    facts.median_side = sides[sides.size() / 2];
  }
  return facts;
}

// Tokens that 99 of 100 texts of a role do not exceed, begin and end and, of a question, its answers included.
int64_t usual_tokens(const Dataset& dataset, const Tokenizer& tokenizer, TextRole role) {
  std::vector<int64_t> lengths;
  std::vector<int32_t> ids(kMostTokens);
  SampleBuffer buffer;
  for (uint64_t i = 0; i < dataset.size(); i += stride_of(dataset.size())) {
    const SampleRecord record = dataset.record(i);
    if (!record.has_text(role)) continue;
    try {
      dataset.read(i, buffer, SampleParts::kCaptions);
    } catch (const WorldError&) {
      continue;  // training replaces it
    }
    int64_t longest = 0, longest_answer = 0;
    for (uint32_t k = 0; k < record.num_captions; ++k) {
      const int64_t length = tokenizer.encode(buffer.caption(k), ids);
      if (record.role(k) == role) longest = std::max(longest, length);
      if (record.role(k) == TextRole::kAnswer) longest_answer = std::max(longest_answer, length);
    }
    lengths.push_back(role == TextRole::kQuestion ? longest + longest_answer : longest);
  }
  if (lengths.empty()) return 0;
  std::sort(lengths.begin(), lengths.end());
  return lengths[lengths.size() * 99 / 100];
}

int64_t round_up(int64_t value, int64_t step) {
  return (value + step - 1) / step * step;
}

void choose_model(Choices& choices, const SizeRow& row, uint64_t samples, const DataFacts& facts) {
  if (facts.median_side > 0) {
    const auto* side = std::find_if(std::rbegin(kSides), std::rend(kSides), [&](const auto& candidate) {
                         return candidate.first <= facts.median_side;
                       }).base();
    const auto& [size, patch] = side == std::begin(kSides) ? kSides[0] : *(side - 1);
    choices.set("model.image.size", size,
                fmt::format("half of the pictures have no side below {} pixels", facts.median_side));
    choices.set("model.image.patch", patch, fmt::format("{} patches of a picture", (size / patch) * (size / patch)));
  }
  const std::string why = fmt::format("for {} samples; more bear a larger model", samples);
  for (const std::string stack : {"image", "text", "decoder", "fusion"}) {
    const std::string section = "model." + stack + ".";
    const bool is_second = stack == "decoder" || stack == "fusion";
    choices.set(section + "width", row.width, why);
    choices.set(section + "layers", is_second ? row.layers / 2 : row.layers, why);
    choices.set(section + "heads", row.heads, fmt::format("of {} dims", row.width / row.heads));
    choices.set(section + "feed_forward", 4 * row.width, "4 times the width");
  }
  choices.set("model.embedding", row.width, "as wide as the towers");
  choices.set("model.classes", std::max<int64_t>(2, facts.classes), "that labels, boxes and classes.txt name");
  choices.set("model.answers", std::max<int64_t>(2, facts.labels), "that labels name");
  choices.set("model.queries", std::max<int64_t>(8, 2 * facts.most_boxes),
              fmt::format("twice the most boxes of a sample, {}, and 8 at least", facts.most_boxes));
}

void choose_training(Choices& choices, const SizeRow& row, uint64_t samples) {
  const auto most = static_cast<int64_t>(std::bit_floor(std::max<uint64_t>(1, samples / 2)));
  const int64_t batch = std::clamp<int64_t>(most, 1, row.batch);
  const int64_t steps = std::max<int64_t>(1, row.epochs * static_cast<int64_t>(samples) / batch);
  choices.set("training.global_batch", batch, "at most half of the samples");
  choices.set("training.steps", steps, fmt::format("{} epochs", row.epochs));
  choices.set("optimizer.learning_rate", fmt::format("{:g}", row.learning_rate), "less for wider models");
  choices.set("optimizer.warmup_steps", std::min<int64_t>(steps / 20, 2000), "a twentieth of the steps");
  choices.set("checkpoint.every", std::clamp<int64_t>(steps / 10, 10, 1000), "a tenth of the steps, 1000 at most");
}

}  // namespace

std::string new_run_config(const NewConfigRequest& request, TaskTable tasks) {
  const Dataset dataset = Dataset::open(request.data);
  const DataFacts facts = facts_of(dataset);
  Choices choices(request.task, tasks);
  const std::string run_dir = request.run_dir.empty() ? "runs/" + request.task : request.run_dir;
  choices.set("run.dir", quoted(run_dir), "the task's name");
  choices.set("data.path", quoted(request.data.string()), "the data set");
  if (facts.parts.captions == 0 && facts.parts.answers > 0) {
    choices.set("objective.target", "\"answer\"", "the data set has questions with answers, and no captions");
  }

  // What has no choice yet has room for any tokenizer.
  const bool reads_texts = choices.has("model.text.vocabulary");
  const RunConfig probe = choices.config(reads_texts ? "model.text.vocabulary = 16777216\n" : "");
  RunInputs inputs;
  open_data(probe, inputs);
  if (probe.task->vocabulary() > 0) {
    open_tokenizer(probe, inputs);
    const int64_t pieces = inputs.tokenizer->size();
    choices.set(
        "model.text.vocabulary", round_up(pieces + 1, 64),
        fmt::format("the tokenizer has {} pieces; room for a mask token, and a multiple of any usual tp", pieces));
    const int64_t tokens = usual_tokens(dataset, *inputs.tokenizer, probe.task->text_role());
    choices.set("model.text.length", std::max<int64_t>(8, round_up(tokens, 8)),
                fmt::format("99 of 100 texts have no more than {} tokens", tokens));
  }
  const uint64_t samples =
      std::max<uint64_t>(1, choices.has("model.image.size") ? facts.parts.images : facts.parts.samples);
  const SizeRow* row = std::find_if(std::begin(kSizes), std::end(kSizes) - 1,
                                    [&](const SizeRow& candidate) { return samples <= candidate.samples; });
  choose_model(choices, *row, samples, facts);
  choose_training(choices, *row, samples);

  const RunConfig config = choices.config();
  RunInputs checked;
  open_data(config, checked);
  return fmt::format(
      "# A run of task {} on {}: {} samples, {} with an image, {} with captions, {} with questions, {} with labels,\n"
      "# {} with boxes. Made by `triptych config new`: every key stands below with what it means, and these were "
      "chosen\n"
      "# for the data set:\n{}\n{}",
      request.task, printable(request.data.string()), facts.parts.samples, facts.parts.images, facts.parts.captions,
      facts.parts.questions, facts.parts.labels, facts.parts.boxes, choices.comment(), config.effective_toml);
}

}  // namespace triptych::training
