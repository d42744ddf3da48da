#include "tasks/written_answer_results.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "data/hidden_parts.h"
#include "evaluation/answer_accuracy.h"
#include "execution/batch_feeder.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr const char* kPixels = "pixels";

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

// What an evaluation hides of each sample, and how its numbers are named.
struct Mode {
  std::string name;
  SampleParts hidden = SampleParts::kNone;
};

bool sees_pictures(std::span<const FieldSource> sources) {
  return std::ranges::any_of(fields_of(sources), [](const FieldSpec& field) { return field.name == kPixels; });
}

// The question of a sample, if it has one with an answer.
std::optional<Question> question_of(const Dataset& dataset, int64_t sample) {
  const std::vector<std::string> texts = captions_of(dataset, sample, TextRole::kQuestion),
                                 answers = captions_of(dataset, sample, TextRole::kAnswer);
  if (texts.size() != 1 || answers.empty()) return std::nullopt;
  return Question{texts.front(), answers, {}};
}

// Adds to each question what the model writes, by each method. With nothing hidden it first finds the questions, by
// sample: nothing where there is none with an answer, or picture or texts cannot be used.
void answer_questions(Inference& inference, const std::shared_ptr<const Dataset>& dataset,
                      const std::vector<FieldSource>& sources, const Tokenizer& tokenizer,
                      const CaptionOptions& options, SampleParts hidden,
                      std::vector<std::optional<Question>>& questions) {
  const bool is_whole = hidden == SampleParts::kNone;
  LoaderOptions loading;
  loading.fields = is_whole ? sources : hiding(sources, hidden);
  const int64_t count = num_written(*dataset, options);
  loading.global_batch = std::min(inference.options().batch, count);
  std::vector<std::string> names;
  if (sees_pictures(sources)) names.emplace_back(kPixels);
  if (is_whole) questions.resize(static_cast<std::size_t>(count));
  const auto answer = [&](Batch& batch) {
    const std::span<const uint8_t> has_image = batch.values<uint8_t>("image_present"),
                                   has_text = batch.values<uint8_t>("text_present");
    const std::span<const int32_t> tokens = batch.values<int32_t>("tokens"), lengths = batch.values<int32_t>("lengths");
    const std::size_t num_rows = lengths.size(), width = tokens.size() / num_rows;
    const auto first_item = static_cast<std::size_t>(batch.step) * num_rows;
    std::vector<std::vector<int32_t>> prompts;
    for (std::size_t row = 0; row < num_rows; ++row) {
      const std::span<const int32_t> of_row = tokens.subspan(row * width, width);
      const auto length = std::clamp<int64_t>(lengths[row], 1, options.text_length - 1);
      prompts.emplace_back(of_row.begin(), of_row.begin() + length);
      const std::size_t item = first_item + row;
      if (!is_whole || item >= questions.size() || has_text[row] == 0) continue;
      if (names.empty() || has_image[row] != 0) questions[item] = question_of(*dataset, static_cast<int64_t>(item));
    }
    const Fields fields = to_device(inference.device(), batch, names);
    for (const std::string& method : options.methods) {
      DecodingOptions decoding = decoding_by(method, options, tokenizer);
      decoding.first_item = static_cast<int64_t>(first_item);
      std::size_t item = first_item;
      for (const DecodedSequence& text : decode(inference, fields, prompts, tokenizer.end(), decoding)) {
        if (item < questions.size() && questions[item]) {
          questions[item]->written.push_back(tokenizer.decode(text.tokens));
        }
        ++item;
      }
    }
  };
  inference.for_batches(dataset, std::move(loading), answer, count);
}

// The set's examples; the first of those with a picture have maps of the answer's words. Collective.
void add_examples(ExamplesPanel& panel, const std::string& set, const Dataset& dataset,
                  const std::vector<std::optional<Question>>& questions, const SampleExplainer& explainer,
                  bool is_first) {
  int64_t num_maps = 0;
  for (const int64_t sample : example_numbers(static_cast<int64_t>(questions.size()))) {
    if (!questions[static_cast<std::size_t>(sample)]) continue;
    const Question& question = *questions[static_cast<std::size_t>(sample)];
    std::vector<ReportPicture> maps;
    if (num_maps < explainer.num_maps()) {
      const std::optional<Explanation> explanation = explainer.explain(dataset, sample, question.text);
      if (explanation) maps = word_pictures(*explanation);
      ++num_maps;
    }
    if (!is_first) continue;
    panel.examples.push_back({.group = set,
                              .picture = picture_of(dataset, sample, question.text),
                              .asked = question.text,
                              .truth = fmt::format("{}", fmt::join(question.answers, ", ")),
                              .produced = question.written.front(),
                              .correct = share_of_people(question.written.front(), question.answers) > 0,
                              .maps = std::move(maps)});
  }
}

}  // namespace

std::string write_answer(Inference& inference, const Fields& fields, const std::string& question,
                         const Tokenizer& tokenizer, const CaptionOptions& options) {
  std::vector<int32_t> prompt(static_cast<std::size_t>(options.text_length));
  prompt.resize(static_cast<std::size_t>(tokenizer.encode(question, prompt)) - tokenizer.after().size());  // it goes on
  const std::vector<DecodedSequence> written =
      decode(inference, fields, prompt, tokenizer.end(), decoding_by(options.methods.front(), options, tokenizer));
  return tokenizer.decode(written.at(0).tokens);
}

EvaluationResults written_answer_results(Inference& inference, const EvaluationInputs& inputs,
                                         const std::vector<FieldSource>& sources, const CaptionOptions& options,
                                         const SampleExplainer& explainer) {
  EvaluationResults results;
  TablePanel table{.title = "Answers",
                   .caption =
                       "Accuracy is the share of questions after which the model writes the first of their answers; "
                       "the VQA score counts any answer that people gave. Image only: the question is hidden; text "
                       "only: the image is; beside each what it has more than both.",
                   .subject_head = "Set",
                   .columns = {"Accuracy", "VQA score"},
                   .subjects = {}};
  ExamplesPanel examples{.title = "Questions",
                         .caption = "A map is bright where the model looked when it wrote the word below it.",
                         .examples = {}};
  std::vector<Mode> modes{{"", SampleParts::kNone}};
  if (sees_pictures(sources)) {
    modes.push_back({", image only", SampleParts::kCaptions});
    modes.push_back({", text only", SampleParts::kImage});
  }
  const std::size_t num_methods = options.methods.size();
  for (const std::string& path : inputs.sets) {
    const auto dataset = std::make_shared<const Dataset>(Dataset::open(path));
    const std::string set = set_name(path);
    std::vector<std::optional<Question>> questions;
    for (const Mode& mode : modes) {
      answer_questions(inference, dataset, sources, *inputs.tokenizer, options, mode.hidden, questions);
    }
    add_examples(examples, set, *dataset, questions, explainer, inference.is_first());
    if (!inference.is_first()) continue;
    AnswerCounts all;
    std::map<std::string, AnswerCounts> by_question;
    for (const std::optional<Question>& question : questions) {
      if (!question) continue;
      ++all[question->answers.front()];
      ++by_question[question->text][question->answers.front()];
    }
    std::vector<AnswerSums> models(modes.size() * num_methods);  // in the order of what was written
    AnswerSums of_question, of_all;
    for (const std::optional<Question>& question : questions) {
      if (!question) continue;
      for (std::size_t m = 0; m < models.size(); ++m) models[m].add(question->written[m], *question);
      of_question.add(most_frequent_of(by_question[question->text]), *question);
      of_all.add(most_frequent_of(all), *question);
    }
    std::vector<TablePanel::Row> rows;
    for (std::size_t m = 0; m < models.size(); ++m) {
      const std::string method = num_methods > 1 ? ", " + options.methods[m % num_methods] : "";
      const std::string name = method + modes[m / num_methods].name;
      rows.push_back(models[m].row("model" + name));
      if (m >= num_methods) tell_changes(rows.back(), rows[m % num_methods]);
      results.metrics.emplace_back(set + ": answer accuracy" + name, models[m].accuracy());
      results.metrics.emplace_back(set + ": VQA score" + name, models[m].vqa_score());
    }
    for (TablePanel::Row& other : baseline_rows(inputs, path, {"answer accuracy", "VQA score"})) {
      rows.push_back(std::move(other));
    }
    rows.push_back(of_question.row("each question's most frequent answer"));
    rows.push_back(of_all.row("the most frequent answer"));
    table.subjects.push_back(
        {.name = set,
         .notes = with_lacking({written_note(*dataset, options, fmt::format("{} questions", of_all.count))}, *dataset,
                               {.images = true, .questions = true, .answers = true}),
         .rows = std::move(rows)});
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
