#include "tasks/language_results.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "data/field_sources.h"
#include "data/hidden_parts.h"
#include "models/language.h"
#include "ops/cross_entropy.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr const char* kTargets = "targets";
constexpr int kNumDrawn = 3;  // texts of a prompt, where they are drawn

// exp of the entropy of what was counted: the least perplexity of a model of single tokens.
double unigram_perplexity(const std::vector<int64_t>& counts, int64_t total) {
  double entropy = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / static_cast<double>(total);
    entropy -= share * std::log(share);
  }
  return std::exp(entropy);
}

// Sums over the targets of a set's texts.
struct TargetSums {
  double sum = 0;
  int64_t total = 0;
  std::vector<int64_t> counts;  // by piece

  double perplexity() const { return std::exp(sum / static_cast<double>(std::max<int64_t>(1, total))); }
};

// A pass over the set with `hidden` hidden; `counts_here`, by caption, says which are measured. With nothing hidden and
// pictures needed these are those whose picture is there.
TargetSums measure_targets(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                           const std::vector<FieldSource>& sources, SampleParts hidden, int64_t num_pieces,
                           bool needs_image, std::vector<bool>& counts_here) {
  const std::vector<std::string> outputs{kTargetScores}, fields{kTargets};
  const bool is_whole = hidden == SampleParts::kNone;
  TargetSums sums;
  sums.counts.resize(static_cast<std::size_t>(num_pieces));
  inference.run(
      dataset, is_whole ? sources : hiding(sources, hidden), EvaluationItems::kCaptions, outputs,
      [&](const InferredRows& rows) {
        const std::span<const float> scores = rows.outputs.at(kTargetScores);
        std::size_t at = 0;
        for (int64_t i = 0; i < rows.num_items; ++i) {
          if (is_whole) counts_here.push_back(!needs_image || rows.image_present[static_cast<std::size_t>(i)]);
          for (const int32_t target : rows.field_row<int32_t>(kTargets, i)) {
            const std::span<const float> of_token = scores.subspan(3 * at++, 3);
            if (target < 0 || !counts_here[rows.first_item + static_cast<std::size_t>(i)]) continue;
            sums.sum -= target_log_probability(of_token);
            ++sums.counts[static_cast<std::size_t>(target)];
            ++sums.total;
          }
        }
      },
      fields);
  return sums;
}

}  // namespace

EvaluationResults perplexity_results(Inference& inference, const EvaluationInputs& inputs,
                                     const std::vector<FieldSource>& sources, bool needs_image) {
  EvaluationResults results;
  TablePanel table{.title = "Perplexity",
                   .caption =
                       "Of a token of the texts, exp of the mean of -log P: between so many tokens alike the model "
                       "would be as unsure. Text only: the pictures are hidden. Token frequencies are the set's own.",
                   .subject_head = "Set",
                   .columns = {"Perplexity"},
                   .subjects = {}};
  const int64_t num_pieces = inputs.tokenizer->size();
  const auto row = [](const char* source, double value) {
    return TablePanel::Row{source, {{.number = value, .text = {}}}};
  };
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    std::vector<bool> counts_here;
    const auto measure = [&](SampleParts hidden) {
      return measure_targets(inference, dataset, sources, hidden, num_pieces, needs_image, counts_here);
    };
    const TargetSums sums = measure(SampleParts::kNone);
    const double unigram = unigram_perplexity(sums.counts, sums.total);
    std::vector<TablePanel::Row> rows{row("model", sums.perplexity())};
    results.metrics.emplace_back(set + ": perplexity", sums.perplexity());
    if (needs_image) {
      const double blind = measure(SampleParts::kImage).perplexity();
      rows.push_back(row("model, text only", blind));
      tell_changes(rows.back(), rows.front());
      results.metrics.emplace_back(set + ": perplexity, text only", blind);
    }
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"perplexity"}, false)) rows.push_back(std::move(other));
    rows.push_back(row("token frequencies", unigram));
    rows.push_back(row("all pieces alike", static_cast<double>(num_pieces)));
    table.subjects.push_back({.name = set, .notes = {fmt::format("{} tokens", sums.total)}, .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": perplexity of token frequencies", unigram);
  }
  results.panels = {std::move(table)};
  return results;
}

Panel written_texts(Inference& inference, const Tokenizer& tokenizer, const CaptionOptions& options) {
  ExamplesPanel examples{.title = "Texts written", .examples = {}};
  for (const std::string& method : options.methods) {
    for (const std::string& prompt : options.prompts) {
      const Fields fields(method == "nucleus" ? kNumDrawn : 1);
      const std::vector<int32_t> tokens = prompt_tokens(tokenizer, prompt, options.text_length);
      for (const DecodedSequence& text :
           decode(inference, fields, tokens, tokenizer.end(), decoding_by(method, options, tokenizer))) {
        examples.examples.push_back(
            {.group = method, .picture = {}, .asked = prompt, .truth = {}, .produced = tokenizer.decode(text.tokens)});
      }
    }
  }
  return examples;
}

}  // namespace triptych::tasks
