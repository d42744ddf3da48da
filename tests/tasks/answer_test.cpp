#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/captions.h"
#include "data/hidden_parts.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "evaluation/inference.h"
#include "parallel/in_process_group.h"
#include "tasks/answer_results.h"
#include "tasks/standard_tasks.h"
#include "training/session.h"

namespace triptych::test {
namespace {

using Names = std::vector<std::string>;

constexpr const char* kConfig =
    "task = \"answer\"\nmodel.answers = 3\n"
    "model.image = {size = 12, patch = 4, width = 16, layers = 1, heads = 2, feed_forward = 20}\n"
    "model.text = {length = 7, vocabulary = 41, width = 12, layers = 1, heads = 2, feed_forward = 18}\n"
    "model.fusion = {width = 12, layers = 1, heads = 2, feed_forward = 18}\n";

std::vector<std::byte> noise(uint64_t i) {
  std::vector<uint8_t> pixels;
  for (uint64_t k = 0; k < 14 * 13 * 3; ++k) pixels.push_back(static_cast<uint8_t>((i + 1) * 37 * (k + 3) % 251));
  return encode_png(14, 13, pixels);
}

// Eight samples. Number 6 has no label, number 7 no question; number 3 no image.
struct Sets {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> asked = make_data_set(folder / "asked", 8, [](uint64_t i) {
    SmallSample s{.image = i == 3 ? std::vector<std::byte>() : noise(i), .captions = {}};
    const bool is_kind = i % 2 == 0;
    if (i != 7) {
      s.captions = is_kind ? Names{"what is it?", "a cat", "cat", "feline"} : Names{"is it red?", "yes"};
      s.roles.assign(s.captions.size(), TextRole::kAnswer);
      s.roles[0] = TextRole::kQuestion;
    }
    if (i != 6) s.label = i < 4 && !is_kind ? 1 : is_kind ? 2 : 0;
    return s;
  });
  std::shared_ptr<const Dataset> unasked = make_data_set(folder / "unasked", 3, [](uint64_t i) {
    return SmallSample{.image = noise(i), .captions = {"a picture"}, .label = 1};
  });
  std::shared_ptr<const Tokenizer> tokenizer =
      Tokenizer::from_bytes(train_tokenizer(dataset_captions(asked), static_cast<int64_t>(asked->num_captions()),
                                            {.vocabulary = 30, .character_coverage = 1}),
                            "test");

  Sets() { write_file_atomically(folder / "asked" / "classes.txt", "no\nyes\ncat\n"); }
};

const Sets& sets() {
  static const Sets all;
  return all;
}

std::string refusal(const std::shared_ptr<const Dataset>& data, const std::string& text = kConfig) {
  const RunConfig config = parse_run_config(text, "run.toml", standard_tasks());
  try {
    config.task->check_data(*data);
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Answer, ADataSetWithoutQuestionsOrWithOtherLabelsIsRefused) {
  EXPECT_EQ(refusal(sets().asked), "no error");
  EXPECT_NE(refusal(sets().unasked).find("question answering needs questions"), std::string::npos);
  std::string fewer = kConfig;
  fewer.replace(fewer.find("answers = 3"), 11, "answers = 2");
  EXPECT_NE(refusal(sets().asked, fewer).find("model.answers"), std::string::npos);
}

struct Found {
  std::vector<std::pair<std::string, double>> metrics;
  std::vector<Panel> panels;
};

// With the head's bias alone, so that every question gets the same answer.
Found evaluate(int num_ranks, const std::vector<float>& bias) {
  Found found;
  run_ranks(num_ranks, [&](Group& world) {
    RunConfig config = parse_run_config(kConfig, "run.toml", standard_tasks());
    config.parallel.mesh.dp = num_ranks;
    Session session(config, world, RankPlace{});
    for (Parameter* p : session.store().all()) {
      if (!p->name.starts_with("answer.head.")) continue;
      std::vector<float> values(static_cast<std::size_t>(p->global_shape.num_elements()), 0);
      if (p->name.ends_with("bias")) values = bias;
      session.device().write(p->value.raw(), values.data(), values.size() * sizeof(float));
    }
    session.store().refresh_compute_copies();
    Inference inference(session.device(), session.mesh(), session.executor(),
                        {.batch = 4, .text_role = config.task->text_role()});
    EvaluationResults results = config.task->evaluate(
        inference, {.sets = {sets().asked->path().string()}, .tokenizer = sets().tokenizer, .baselines = {}});
    if (inference.is_first()) found = {std::move(results.metrics), std::move(results.panels)};
  });
  return found;
}

// Always "cat": right for the labels of samples 0, 2 and 4, of seven that have one; so are its other names.
TEST(Answer, IsCountedAgainstTheLabelAndAgainstAllAnswers) {
  for (const int ranks : {1, 2, 3}) {
    const Found found = evaluate(ranks, {0, 0, 1});
    Names names;
    for (const auto& metric : found.metrics) {
      names.push_back(metric.first);
      EXPECT_NEAR(metric.second, 3.0 / 7, 1e-12) << metric.first;
    }
    EXPECT_EQ(names, (Names{"asked: answer accuracy", "asked: VQA score", "asked: answer accuracy, image only",
                            "asked: VQA score, image only", "asked: answer accuracy, text only",
                            "asked: VQA score, text only"}));
    const auto& subject = std::get<TablePanel>(found.panels[0]).subjects[0];
    EXPECT_EQ(subject.notes[0], "7 questions");
    const auto number = [&](std::size_t row, std::size_t column) { return subject.rows[row].values[column].number; };
    EXPECT_EQ(number(0, 2), 0) << "yes or no";
    EXPECT_EQ(number(0, 3), 1) << "others";
    // Of "is it red?" two answers are yes and one no; number 7 has no text: its own most frequent answer is its own.
    EXPECT_NEAR(number(3, 0), 6.0 / 7, 1e-12) << subject.rows[3].source;
    EXPECT_NEAR(number(4, 0), 3.0 / 7, 1e-12) << subject.rows[4].source;
    EXPECT_NEAR(number(5, 0), 1.0 / 3, 1e-12) << subject.rows[5].source;
    const auto& examples = std::get<ExamplesPanel>(found.panels[1]).examples;
    ASSERT_FALSE(examples.empty());
    EXPECT_EQ(examples[0].asked, "what is it?");
    EXPECT_EQ(examples[0].truth, "a cat, cat, feline");
    EXPECT_EQ(examples[0].produced, "cat");
    EXPECT_TRUE(examples[0].correct);
  }
}

// Of what is hidden nothing reaches the model.
TEST(Answer, WhatIsHiddenIsAbsent) {
  const RunConfig config = parse_run_config(kConfig, "run.toml", standard_tasks());
  const auto rows_of = [&](SampleParts hidden) {
    LoaderOptions options;
    options.fields = hiding(config.task->fields(sets().tokenizer), hidden);
    options.global_batch = 8;
    options.training = false;
    options.text_role = TextRole::kQuestion;
    Loader loader(sets().asked, options);
    return loader.next();
  };
  const Batch whole = rows_of(SampleParts::kNone), blind = rows_of(SampleParts::kImage),
              wordless = rows_of(SampleParts::kCaptions);
  const auto flags = [](const Batch& batch, const char* name) {
    const auto values = batch.values<uint8_t>(name);
    return std::vector<uint8_t>(values.begin(), values.end());
  };
  EXPECT_EQ(flags(whole, "image_present"), (std::vector<uint8_t>{1, 1, 1, 0, 1, 1, 1, 1}));
  EXPECT_EQ(flags(whole, "text_present"), (std::vector<uint8_t>{1, 1, 1, 1, 1, 1, 1, 0}));
  EXPECT_EQ(flags(blind, "image_present"), std::vector<uint8_t>(8, 0));
  EXPECT_EQ(flags(blind, "text_present"), flags(whole, "text_present"));
  EXPECT_EQ(flags(wordless, "text_present"), std::vector<uint8_t>(8, 0));
  EXPECT_TRUE(std::ranges::all_of(blind.values<uint8_t>("pixels"), [](uint8_t value) { return value == 0; }));
  EXPECT_TRUE(std::ranges::all_of(wordless.values<int32_t>("lengths"), [](int32_t length) { return length == 2; }));
  EXPECT_TRUE(std::ranges::equal(wordless.values<int32_t>("label"), whole.values<int32_t>("label")));
}

}  // namespace
}  // namespace triptych::test
