#include "tasks/answer_results.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "data/hidden_parts.h"
#include "evaluation/answer_accuracy.h"
#include "tasks/results.h"

namespace triptych::tasks {
namespace {

constexpr PartChoice kNeeded{.images = true, .questions = true, .labels = true};
constexpr const char* kMapsOfAnswers = "A map is bright where the picture counted for the answer below it.";

// A question of a set, with what is right.
struct Question {
  std::string text;
  std::vector<std::string> answers;  // at least one
  int64_t label = 0;
  bool is_yes_or_no = false;
};

// The question of a sample with a label, which is the first of its texts that is one; it may have no text.
std::optional<Question> question_of(const Dataset& dataset, int64_t sample, const std::vector<std::string>& classes) {
  const SampleRecord record = dataset.record(static_cast<uint64_t>(sample));
  if (!record.label) return std::nullopt;
  Question question;
  question.label = *record.label;
  const std::string& truth = classes[static_cast<std::size_t>(*record.label)];
  const std::string normalized = normalize_answer(truth);
  question.is_yes_or_no = normalized == "yes" || normalized == "no";
  const std::vector<std::string> questions = captions_of(dataset, sample, TextRole::kQuestion);
  if (!questions.empty()) question.text = questions.front();
  if (questions.size() == 1) question.answers = captions_of(dataset, sample, TextRole::kAnswer);
  if (question.answers.empty()) question.answers = {truth};
  return question;
}

// Sums over questions, all of them or one kind.
struct Tally {
  double right = 0, score = 0;
  double right_of_kind[2] = {0, 0};
  int64_t num_of_kind[2] = {0, 0};  // [0]: other, [1]: yes or no

  void add(const Question& question, int64_t produced, const std::string& name) {
    const std::size_t kind = question.is_yes_or_no ? 1 : 0;
    const double is_right = produced == question.label ? 1 : 0;
    right += is_right;
    score += share_of_people(name, question.answers);
    right_of_kind[kind] += is_right;
    ++num_of_kind[kind];
  }
  int64_t num() const { return num_of_kind[0] + num_of_kind[1]; }
  double accuracy() const { return right / static_cast<double>(num()); }
  double vqa_score() const { return score / static_cast<double>(num()); }
  // NaN, which tables leave empty, where there are no such questions.
  double accuracy_of(std::size_t kind) const { return right_of_kind[kind] / static_cast<double>(num_of_kind[kind]); }

  TablePanel::Row row(const std::string& source) const {
    return {
        source,
        {share_value(accuracy()), share_value(vqa_score()), share_value(accuracy_of(1)), share_value(accuracy_of(0))}};
  }
};

int64_t most_frequent(const std::map<int64_t, int64_t>& counts) {
  return std::max_element(counts.begin(), counts.end(),
                          [](const auto& a, const auto& b) { return a.second < b.second; })
      ->first;
}

// What is right without looking at the image.
struct Blind {
  std::map<int64_t, int64_t> labels;
  std::map<std::string, std::map<int64_t, int64_t>> by_text;

  void add(const Question& question) {
    ++labels[question.label];
    ++by_text[question.text][question.label];
  }
};

// One set under measurement: its questions, and those of them that can be used.
struct MeasuredSet {
  std::shared_ptr<const Dataset> dataset;
  std::string name;
  std::vector<std::string> classes;
  std::vector<std::optional<Question>> questions;  // by sample
  std::map<int64_t, std::size_t> shown;            // samples of the examples, with what was answered
  double gate_sum = 0;
  int64_t num_gates = 0;
};

std::size_t best_of(std::span<const float> scores) {
  return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
}

// The set's examples; the first of those with an image have a map. Collective.
void add_examples(ExamplesPanel& panel, const MeasuredSet& set, const SampleExplainer& explainer, bool is_first) {
  int64_t num_maps = 0;
  for (const auto& [sample, produced] : set.shown) {
    const Question& question = *set.questions[static_cast<std::size_t>(sample)];
    const std::string& name = set.classes[produced];
    const bool has_image = set.dataset->record(static_cast<uint64_t>(sample)).has_image();
    std::optional<Explanation> explanation;
    if (has_image && num_maps < explainer.num_maps()) {
      explanation = explainer.explain(*set.dataset, sample, question.text);
      ++num_maps;
    }
    if (!is_first) continue;
    panel.examples.push_back(
        {.group = set.name,
         .picture = picture_of(*set.dataset, sample, question.text),
         .asked = question.text,
         .truth = fmt::format("{}", fmt::join(question.answers, ", ")),
         .produced = name,
         .correct = share_of_people(name, question.answers) > 0,
         .maps = explanation ? relevance_picture(*explanation, name) : std::vector<ReportPicture>()});
  }
}

// A pass over the set with `hidden` hidden. With nothing hidden, questions whose sample cannot be used are forgotten,
// and some of the others are to be shown.
Tally measure_pass(Inference& inference, MeasuredSet& set, const std::vector<FieldSource>& sources, SampleParts hidden,
                   const AnswerMeasure& measure) {
  const bool is_whole = hidden == SampleParts::kNone;
  std::vector<std::string> slots{measure.slot};
  if (is_whole && !measure.gate.empty()) slots.push_back(measure.gate);
  const std::vector<int64_t> shown = example_numbers(static_cast<int64_t>(set.questions.size()));
  const auto num_answers = static_cast<std::size_t>(measure.num_answers);
  Tally tally;
  inference.run(set.dataset, is_whole ? sources : hiding(sources, hidden), EvaluationItems::kSamples, slots,
                [&](const InferredRows& rows) {
                  const std::span<const float> all = rows.outputs.at(measure.slot);
                  for (std::size_t i = 0; i < static_cast<std::size_t>(rows.num_items); ++i) {
                    const std::size_t sample = static_cast<std::size_t>(rows.first_item) + i;
                    std::optional<Question>& question = set.questions[sample];
                    // One that cannot be used shows nothing at all.
                    if (is_whole && !rows.image_present[i] && !rows.text_present[i]) question.reset();
                    if (!question) continue;
                    const std::size_t produced = best_of(all.subspan(i * num_answers, num_answers));
                    tally.add(*question, static_cast<int64_t>(produced), set.classes[produced]);
                    const auto number = static_cast<int64_t>(sample);
                    if (is_whole && std::ranges::find(shown, number) != shown.end()) set.shown[number] = produced;
                  }
                  if (slots.size() == 1) return;
                  const std::vector<float>& gates = rows.outputs.at(measure.gate);
                  set.gate_sum = std::accumulate(gates.begin(), gates.end(), set.gate_sum);
                  set.num_gates += static_cast<int64_t>(gates.size());
                });
  return tally;
}

std::vector<TablePanel::Row> reference_rows(const MeasuredSet& set, const EvaluationInputs& inputs,
                                            const std::string& path, int64_t num_answers) {
  Blind blind;
  for (const std::optional<Question>& question : set.questions) {
    if (question) blind.add(*question);
  }
  Tally of_all, of_text;
  for (const std::optional<Question>& question : set.questions) {
    if (!question) continue;
    const int64_t first = most_frequent(blind.labels), second = most_frequent(blind.by_text[question->text]);
    of_all.add(*question, first, set.classes[static_cast<std::size_t>(first)]);
    of_text.add(*question, second, set.classes[static_cast<std::size_t>(second)]);
  }
  std::vector<TablePanel::Row> rows = baseline_rows(inputs, path, {"answer accuracy", "VQA score"});
  rows.push_back(of_text.row("each question's most frequent answer"));
  rows.push_back(of_all.row("the most frequent answer"));
  rows.push_back({"chance", {share_value(1 / static_cast<double>(num_answers))}});
  return rows;
}

}  // namespace

EvaluationResults answer_results(Inference& inference, const EvaluationInputs& inputs,
                                 const std::vector<FieldSource>& sources, const AnswerMeasure& measure,
                                 const SampleExplainer& explainer) {
  EvaluationResults results;
  TablePanel table{
      .title = "Answers",
      .caption =
          "Accuracy is the share of questions that get the label's answer, the VQA score counts any answer "
          "that people gave. Image only: the question is hidden; text only: the image is; beside each what it has more "
          "than both.",
      .subject_head = "Set",
      .columns = {"Accuracy", "VQA score", "Yes or no", "Other"},
      .subjects = {}};
  ExamplesPanel examples{.title = "Questions", .caption = kMapsOfAnswers, .examples = {}};
  for (const std::string& path : inputs.sets) {
    MeasuredSet set{.dataset = std::make_shared<const Dataset>(Dataset::open(path)), .name = set_name(path)};
    set.classes = label_names(path, measure.num_answers, "answer");
    for (uint64_t i = 0; i < set.dataset->size(); ++i) {
      set.questions.push_back(question_of(*set.dataset, static_cast<int64_t>(i), set.classes));
    }
    std::vector<TablePanel::Row> rows;
    int64_t num_questions = 0;
    const std::pair<const char*, SampleParts> modes[] = {
        {"", SampleParts::kNone}, {", image only", SampleParts::kCaptions}, {", text only", SampleParts::kImage}};
    for (const auto& [mode, hidden] : modes) {
      const Tally tally = measure_pass(inference, set, sources, hidden, measure);
      num_questions = tally.num();
      rows.push_back(tally.row(std::string("model") + mode));
      if (hidden != SampleParts::kNone) tell_changes(rows.back(), rows.front());
      results.metrics.emplace_back(set.name + ": answer accuracy" + mode, tally.accuracy());
      results.metrics.emplace_back(set.name + ": VQA score" + mode, tally.vqa_score());
    }
    add_examples(examples, set, explainer, inference.is_first());
    for (TablePanel::Row& row : reference_rows(set, inputs, path, measure.num_answers)) rows.push_back(std::move(row));
    std::vector<std::string> notes = with_lacking({fmt::format("{} questions", num_questions)}, *set.dataset, kNeeded);
    if (set.num_gates > 0) {
      notes.push_back(fmt::format("gates take {:.2f} of the image", set.gate_sum / static_cast<double>(set.num_gates)));
    }
    table.subjects.push_back({.name = set.name, .notes = std::move(notes), .rows = std::move(rows)});
  }
  results.panels = {std::move(table), std::move(examples)};
  return results;
}

}  // namespace triptych::tasks
