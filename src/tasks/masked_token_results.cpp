#include "tasks/masked_token_results.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "data/hidden_parts.h"
#include "evaluation/classification_metrics.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr const char* kPositions = "masked_positions";
constexpr const char* kTargets = "masked_targets";
constexpr int64_t kTopK = 5;

// A text with its hidden tokens, and guesses.
void add_example(ExamplesPanel& panel, const std::string& set, const Tokenizer& tokenizer, const InferredRows& rows,
                 int64_t item, const std::vector<int32_t>& guesses) {
  const std::span<const int32_t> tokens = rows.field_row<int32_t>("tokens", item);
  const std::span<const int32_t> positions = rows.field_row<int32_t>(kPositions, item);
  const std::span<const int32_t> targets = rows.field_row<int32_t>(kTargets, item);
  const int32_t length = rows.field_row<int32_t>("lengths", item)[0];
  ExamplesPanel::Example& example = panel.examples.emplace_back();
  example.group = set;
  std::size_t next = 0;
  for (int32_t t = 1; t + 1 < length; ++t) {
    const bool is_asked = next < positions.size() && positions[next] == t;
    next += is_asked ? 1 : 0;
    example.asked += is_asked ? " [?]" : " " + tokenizer.piece(tokens[static_cast<std::size_t>(t)]);
  }
  example.correct = true;
  for (std::size_t k = 0; k < guesses.size(); ++k) {
    example.truth += (k == 0 ? "" : " ") + tokenizer.piece(targets[k]);
    example.produced += (k == 0 ? "" : " ") + tokenizer.piece(guesses[k]);
    example.correct = example.correct && guesses[k] == targets[k];
  }
}

// Called with each caption of which tokens were asked for: its row, its number, what was guessed.
using SeeGuesses =
    std::function<void(const InferredRows& rows, int64_t row, int64_t item, const std::vector<int32_t>&)>;

// A pass over the set with `hidden` hidden; `counts_here`, by caption, says which are measured. With nothing hidden it
// is found out: those that have the parts which the model sees.
ClassificationCounter count_guesses(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                                    const std::vector<FieldSource>& sources, SampleParts hidden, int64_t num_pieces,
                                    const MaskedTokenMeasure& measure, std::vector<bool>& counts_here,
                                    const SeeGuesses& see) {
  const bool is_whole = hidden == SampleParts::kNone;
  const std::vector<std::string> wanted{"tokens", "lengths", kPositions, kTargets};
  ClassificationCounter counter(num_pieces);
  inference.run(
      dataset, is_whole ? sources : hiding(sources, hidden), EvaluationItems::kCaptions, std::span(&measure.slot, 1),
      [&](const InferredRows& rows) {
        const std::span<const float> all = rows.outputs.at(measure.slot);
        const std::size_t per_item = all.size() / static_cast<std::size_t>(rows.num_items);
        for (int64_t i = 0; i < rows.num_items; ++i) {
          const auto row = static_cast<std::size_t>(i);
          if (is_whole) counts_here.push_back(!measure.sees_images || rows.image_present[row]);
          if (!counts_here[static_cast<std::size_t>(rows.first_item) + row]) continue;
          const std::span<const int32_t> targets = rows.field_row<int32_t>(kTargets, i);
          std::vector<int32_t> guesses;
          for (std::size_t k = 0; k < targets.size() && targets[k] >= 0; ++k) {
            const std::span<const float> scores =
                all.subspan(row * per_item + k * static_cast<std::size_t>(measure.vocabulary),
                            static_cast<std::size_t>(num_pieces));
            counter.add(scores, targets[k]);
            guesses.push_back(static_cast<int32_t>(std::max_element(scores.begin(), scores.end()) - scores.begin()));
          }
          if (!guesses.empty()) see(rows, i, static_cast<int64_t>(rows.first_item) + i, guesses);
        }
      },
      wanted);
  return counter;
}

}  // namespace

EvaluationResults masked_token_results(Inference& inference, const EvaluationInputs& inputs,
                                       const std::vector<FieldSource>& sources, const MaskedTokenMeasure& measure) {
  EvaluationResults results;
  TablePanel table{.title = "Masked tokens",
                   .caption =
                       "The share of hidden tokens, those that stand as they are or as another one among them, "
                       "of which the true one is among the first k of all pieces.",
                   .subject_head = "Set",
                   .columns = {"Top-1", "Top-5"},
                   .subjects = {}};
  if (measure.sees_images) table.caption += " Text only: the images are hidden.";
  ExamplesPanel examples{.title = "Guesses", .examples = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->num_texts(TextRole::kCaption)));
    std::vector<bool> counts_here;
    std::vector<TablePanel::Row> rows;
    const auto pass = [&](const char* mode, SampleParts hidden, const SeeGuesses& see) {
      ClassificationCounter counter =
          count_guesses(inference, dataset, sources, hidden, inputs.tokenizer->size(), measure, counts_here, see);
      const double top_1 = counter.top_k_accuracy(1), top_5 = counter.top_k_accuracy(kTopK);
      rows.push_back({std::string("model") + mode, {share_value(top_1), share_value(top_5)}});
      if (hidden != SampleParts::kNone) tell_changes(rows.back(), rows.front());
      results.metrics.emplace_back(set + ": masked-token accuracy" + mode, top_1);
      results.metrics.emplace_back(set + ": masked-token top-5 accuracy" + mode, top_5);
      return counter;
    };
    const ClassificationCounter counter =
        pass("", SampleParts::kNone,
             [&](const InferredRows& inferred, int64_t row, int64_t item, const std::vector<int32_t>& guesses) {
               if (!inference.is_first() || std::find(shown.begin(), shown.end(), item) == shown.end()) return;
               add_example(examples, set, *inputs.tokenizer, inferred, row, guesses);
             });
    if (measure.sees_images) {
      pass(", text only", SampleParts::kImage,
           [](const InferredRows&, int64_t, int64_t, const std::vector<int32_t>&) {});
    }
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"masked-token accuracy"})) {
      rows.push_back(std::move(other));
    }
    rows.push_back({"the most frequent token", {share_value(counter.most_frequent_share())}});
    table.subjects.push_back(
        {.name = set, .notes = {fmt::format("{} tokens", counter.num_samples())}, .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": most frequent token", counter.most_frequent_share());
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
