#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/hidden_parts.h"
#include "data/image_decoder.h"
#include "small_tasks.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

std::string config_with(int answers) {
  return fmt::format("task = \"answer\"\nmodel.answers = {}\n", answers) + kImage + kText + kFusion;
}

// Eight samples. Number 6 has no label, number 7 no question; number 3 no image.
struct Asked {
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
  std::shared_ptr<const Tokenizer> tokenizer = tokenizer_of(asked, 30);

  Asked() { write_file_atomically(folder / "asked" / "classes.txt", "no\nyes\ncat\n"); }
};

const Asked& sets() {
  static const Asked all;
  return all;
}

std::string refusal(const std::shared_ptr<const Dataset>& data, int answers = 3) {
  const RunConfig config = parse_run_config(config_with(answers), "run.toml", standard_tasks());
  return user_error_of([&] { config.task->check_data(*data); });
}

TEST(Answer, ADataSetWithoutQuestionsOrWithOtherLabelsIsRefused) {
  EXPECT_EQ(refusal(sets().asked), "no error");
  EXPECT_NE(refusal(sets().unasked).find("question answering needs questions"), std::string::npos);
  EXPECT_NE(refusal(sets().asked, 2).find("model.answers"), std::string::npos);
}

// With the head's bias alone, so that every question gets the same answer.
Found evaluate_with_bias(int num_ranks, const std::vector<float>& bias) {
  const auto set_bias = [&](Session& session) {
    for (Parameter* p : session.store().all()) {
      if (!p->name.starts_with("answer.head.")) continue;
      std::vector<float> values(static_cast<std::size_t>(p->global_shape.num_elements()), 0);
      if (p->name.ends_with("bias")) values = bias;
      session.device().write(p->value.raw(), values.data(), values.size() * sizeof(float));
    }
    session.store().refresh_compute_copies();
  };
  return evaluate(config_with(3), num_ranks, {sets().asked->path().string()}, sets().tokenizer, set_bias, 2);
}

// Always "cat": right for the labels of samples 0, 2 and 4, of seven that have one; so are its other names.
TEST(Answer, IsCountedAgainstTheLabelAndAgainstAllAnswers) {
  for (const int ranks : {1, 2, 3}) {
    const Found found = evaluate_with_bias(ranks, {0, 0, 1});
    for (const auto& [name, value] : found.metrics) EXPECT_NEAR(value, 3.0 / 7, 1e-12) << name;
    EXPECT_EQ(found.names(), (Names{"asked: answer accuracy", "asked: VQA score", "asked: answer accuracy, image only",
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
    EXPECT_TRUE(std::isnan(subject.rows[0].values[0].change));
    EXPECT_EQ(subject.rows[1].values[0].change, 0) << subject.rows[1].source;
    EXPECT_EQ(subject.rows[2].values[3].change, 0) << subject.rows[2].source;
    const auto& examples = std::get<ExamplesPanel>(found.panels[1]).examples;
    ASSERT_FALSE(examples.empty());
    EXPECT_EQ(examples[0].asked, "what is it?");
    EXPECT_EQ(examples[0].truth, "a cat, cat, feline");
    EXPECT_EQ(examples[0].produced, "cat");
    EXPECT_TRUE(examples[0].correct);
    // The first two with an image have a map, as wide as a report's, that is named by the answer.
    std::vector<std::size_t> num_maps;
    for (const auto& example : examples) num_maps.push_back(example.maps.size());
    EXPECT_EQ(num_maps, (std::vector<std::size_t>{1, 1, 0, 0, 0}));
    EXPECT_EQ(examples[0].maps[0].description, "cat");
    EXPECT_EQ(decode_image(examples[0].maps[0].png).width, 96u);
  }
}

// Of what is hidden nothing reaches the model.
TEST(Answer, WhatIsHiddenIsAbsent) {
  const RunConfig config = parse_run_config(config_with(3), "run.toml", standard_tasks());
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
