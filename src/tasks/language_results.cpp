#include "tasks/language_results.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "data/field_sources.h"
#include "evaluation/answer_accuracy.h"
#include "execution/batch_feeder.h"
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

// A question of a set with its answers, normalised, and what the model wrote by each method.
struct Question {
  std::string text;
  std::vector<std::string> answers;  // at least one
  std::vector<std::string> written;
};

struct AnswerSums {
  double right = 0, score = 0;
  int64_t count = 0;

  void add(const std::string& produced, const Question& question) {
    right += answer_accuracy(produced, question.answers.front());
    score += share_of_people(produced, question.answers);
    ++count;
  }
  double accuracy() const { return right / static_cast<double>(std::max<int64_t>(1, count)); }
  double vqa_score() const { return score / static_cast<double>(std::max<int64_t>(1, count)); }
  TablePanel::Row row(const std::string& source) const {
    return {source, {share_value(accuracy()), share_value(vqa_score())}};
  }
};

// How often each answer is the first of a question.
using AnswerCounts = std::map<std::string, int64_t>;

std::string most_frequent_of(const AnswerCounts& counts) {
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// By sample; nothing where it has no question with an answer, or its picture or texts cannot be used.
std::vector<std::optional<Question>> answer_questions(Inference& inference, std::shared_ptr<const Dataset> dataset,
                                                      std::span<const FieldSource> sources, const Tokenizer& tokenizer,
                                                      const CaptionOptions& options) {
  LoaderOptions loading;
  loading.fields = {sources.begin(), sources.end()};
  loading.global_batch = std::min(inference.options().batch, static_cast<int64_t>(dataset->size()));
  std::vector<std::string> names;
  for (const FieldSpec& field : fields_of(sources)) {
    if (field.name == "pixels") names.push_back(field.name);
  }
  std::vector<std::optional<Question>> questions;
  inference.for_batches(dataset, std::move(loading), [&](Batch& batch) {
    const std::span<const uint8_t> has_image = batch.values<uint8_t>("image_present"),
                                   has_text = batch.values<uint8_t>("text_present");
    const std::span<const int32_t> tokens = batch.values<int32_t>("tokens"), lengths = batch.values<int32_t>("lengths");
    const auto first_item = static_cast<int64_t>(questions.size());
    const std::size_t width = tokens.size() / lengths.size();
    std::vector<std::vector<int32_t>> prompts;
    for (std::size_t row = 0; row < lengths.size(); ++row) {
      const std::span<const int32_t> of_row = tokens.subspan(row * width, width);
      const auto length = std::clamp<int64_t>(lengths[row], 1, options.text_length - 1);
      prompts.emplace_back(of_row.begin(), of_row.begin() + length);
      std::optional<Question>& question = questions.emplace_back();
      const auto item = static_cast<uint64_t>(questions.size() - 1);
      if (item >= dataset->size() || has_text[row] == 0 || (!names.empty() && has_image[row] == 0)) continue;
      const auto sample = static_cast<int64_t>(item);
      const std::vector<std::string> texts = captions_of(*dataset, sample, TextRole::kQuestion),
                                     answers = captions_of(*dataset, sample, TextRole::kAnswer);
      if (texts.size() != 1 || answers.empty()) continue;
      question.emplace(Question{texts.front(), answers, {}});
    }
    const Fields fields = to_device(inference.device(), batch, names);
    for (const std::string& method : options.methods) {
      DecodingOptions decoding = decoding_by(method, options, tokenizer);
      decoding.first_item = first_item;
      std::size_t item = static_cast<std::size_t>(first_item);
      for (const DecodedSequence& text : decode(inference, fields, prompts, kEndId, decoding)) {
        std::optional<Question>& question = questions[item++];
        if (question) question->written.push_back(tokenizer.decode(text.tokens));
      }
    }
  });
  return questions;
}

}  // namespace

EvaluationResults perplexity_results(Inference& inference, const EvaluationInputs& inputs,
                                     std::span<const FieldSource> sources, bool needs_image) {
  EvaluationResults results;
  TablePanel table{.title = "Perplexity",
                   .caption =
                       "Of a token of the texts, exp of the mean of -log P: between so many tokens alike the model "
                       "would be as unsure. Token frequencies are the set's own.",
                   .subject_head = "Set",
                   .columns = {"Perplexity"},
                   .subjects = {}};
  const int64_t num_pieces = inputs.tokenizer->size();
  const std::vector<std::string> outputs{kTargetScores}, fields{kTargets};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    double sum = 0;
    int64_t total = 0;
    std::vector<int64_t> counts(static_cast<std::size_t>(num_pieces));
    inference.run(
        dataset, sources, EvaluationItems::kCaptions, outputs,
        [&](const InferredRows& rows) {
          const std::span<const float> scores = rows.outputs.at(kTargetScores);
          std::size_t at = 0;
          for (int64_t i = 0; i < rows.num_items; ++i) {
            const bool counts_here = !needs_image || rows.image_present[static_cast<std::size_t>(i)];
            for (const int32_t target : rows.field_row<int32_t>(kTargets, i)) {
              const std::span<const float> of_token = scores.subspan(3 * at++, 3);
              if (target < 0 || !counts_here) continue;
              sum -= target_log_probability(of_token);
              ++counts[static_cast<std::size_t>(target)];
              ++total;
            }
          }
        },
        fields);
    const double perplexity = std::exp(sum / static_cast<double>(std::max<int64_t>(1, total)));
    const double unigram = unigram_perplexity(counts, total);
    const auto row = [](const char* source, double value) {
      return TablePanel::Row{source, {{.number = value, .text = {}}}};
    };
    std::vector<TablePanel::Row> rows{row("model", perplexity)};
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"perplexity"}, false)) rows.push_back(std::move(other));
    rows.push_back(row("token frequencies", unigram));
    rows.push_back(row("all pieces alike", static_cast<double>(num_pieces)));
    const std::string set = set_name(path);
    table.subjects.push_back({.name = set, .notes = {fmt::format("{} tokens", total)}, .rows = std::move(rows)});
    results.metrics.emplace_back(set + ": perplexity", perplexity);
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
           decode(inference, fields, tokens, kEndId, decoding_by(method, options, tokenizer))) {
        examples.examples.push_back(
            {.group = method, .picture = {}, .asked = prompt, .truth = {}, .produced = tokenizer.decode(text.tokens)});
      }
    }
  }
  return examples;
}

EvaluationResults written_answer_results(Inference& inference, const EvaluationInputs& inputs,
                                         std::span<const FieldSource> sources, const CaptionOptions& options) {
  EvaluationResults results;
  TablePanel table{.title = "Answers",
                   .caption =
                       "Accuracy is the share of questions after which the model writes the first of their answers; "
                       "the VQA score counts any answer that people gave.",
                   .subject_head = "Set",
                   .columns = {"Accuracy", "VQA score"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Questions", .examples = {}};
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::vector<std::optional<Question>> questions =
        answer_questions(inference, dataset, sources, *inputs.tokenizer, options);
    if (!inference.is_first()) continue;
    const std::string set = set_name(path);
    const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(dataset->size()));
    AnswerCounts all;
    std::map<std::string, AnswerCounts> by_question;
    for (const std::optional<Question>& question : questions) {
      if (!question) continue;
      ++all[question->answers.front()];
      ++by_question[question->text][question->answers.front()];
    }
    std::vector<AnswerSums> models(options.methods.size());
    AnswerSums of_question, of_all;
    for (std::size_t i = 0; i < questions.size(); ++i) {
      if (!questions[i]) continue;
      const Question& question = *questions[i];
      for (std::size_t m = 0; m < models.size(); ++m) models[m].add(question.written[m], question);
      of_question.add(most_frequent_of(by_question[question.text]), question);
      of_all.add(most_frequent_of(all), question);
      const auto sample = static_cast<int64_t>(i);
      if (std::find(shown.begin(), shown.end(), sample) == shown.end()) continue;
      examples.examples.push_back({.group = set,
                                   .picture = picture_of(*dataset, sample, question.text),
                                   .asked = question.text,
                                   .truth = question.answers.front(),
                                   .produced = question.written.front(),
                                   .correct = share_of_people(question.written.front(), question.answers) > 0});
    }
    std::vector<TablePanel::Row> rows;
    for (std::size_t m = 0; m < models.size(); ++m) {
      const std::string method = models.size() > 1 ? ", " + options.methods[m] : "";
      rows.push_back(models[m].row("model" + method));
      results.metrics.emplace_back(set + ": answer accuracy" + method, models[m].accuracy());
      results.metrics.emplace_back(set + ": VQA score" + method, models[m].vqa_score());
    }
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"answer accuracy", "VQA score"})) {
      rows.push_back(std::move(other));
    }
    rows.push_back(of_question.row("each question's most frequent answer"));
    rows.push_back(of_all.row("the most frequent answer"));
    table.subjects.push_back({.name = set,
                              .notes = with_lacking({fmt::format("{} questions", of_all.count)}, *dataset,
                                                    {.images = true, .questions = true, .answers = true}),
                              .rows = std::move(rows)});
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
