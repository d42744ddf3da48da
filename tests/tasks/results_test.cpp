#include "tasks/results.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/image_decoder.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "support/user_error.h"

namespace triptych::test {
namespace {

// A picture of one colour, so that it can be recognised.
std::vector<std::byte> plain_image(uint8_t value) {
  return encode_png(3, 2, std::vector<uint8_t>(18, value));
}

TEST(Results, ASetIsNamedByItsFolder) {
  EXPECT_EQ(set_name("data/emoji/unseen_style"), "unseen style");
  EXPECT_EQ(set_name("data/emoji/unseen_style/"), "unseen style");
  EXPECT_EQ(set_name("./a/../plain"), "plain");
}

TEST(Results, ExamplesAreSpreadOverAllThatThereIs) {
  EXPECT_EQ(example_numbers(0), std::vector<int64_t>{});
  EXPECT_EQ(example_numbers(1), std::vector<int64_t>{0});
  EXPECT_EQ(example_numbers(4), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(example_numbers(60), (std::vector<int64_t>{5, 15, 25, 35, 45, 55}));
  for (const int64_t count : {6, 7, 13, 1001}) {
    const std::vector<int64_t> numbers = example_numbers(count);
    ASSERT_EQ(numbers.size(), 6u);
    for (std::size_t k = 0; k < 6; ++k) {
      EXPECT_GE(numbers[k], k == 0 ? 0 : numbers[k - 1] + 1);
      EXPECT_LT(numbers[k], count);
    }
  }
}

TEST(Results, AsManyNumbersAreSpreadAsAreAskedFor) {
  EXPECT_EQ(spread_numbers(60, 3), (std::vector<int64_t>{10, 30, 50}));
  EXPECT_EQ(spread_numbers(2, 3), (std::vector<int64_t>{0, 1}));
  EXPECT_EQ(spread_numbers(60, 0), std::vector<int64_t>{});
}

TEST(Results, ARowTellsWhatItHasMoreThanAnother) {
  const TablePanel::Row both{"model", {share_value(0.75), share_value(0.5)}};
  TablePanel::Row alone{"model, text only", {share_value(0.25), share_value(1), share_value(0.5)}};
  tell_changes(alone, both);
  EXPECT_EQ(alone.values[0].change, -0.5);
  EXPECT_EQ(alone.values[1].change, 0.5);
  EXPECT_TRUE(std::isnan(alone.values[2].change));
}

TEST(Results, PicturesAndCaptionsAreThoseOfTheSample) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "data", 3, [](uint64_t i) {
    return SmallSample{i == 1 ? std::vector<std::byte>() : plain_image(static_cast<uint8_t>(40 * i + 7)),
                       i == 0 ? std::vector<std::string>() : std::vector<std::string>{"one", "two"}};
  });
  const std::optional<ReportPicture> picture = picture_of(*data, 2, "words");
  ASSERT_TRUE(picture);
  EXPECT_EQ(picture->description, "words");
  EXPECT_EQ(decode_image(picture->png).pixels, std::vector<uint8_t>(18, 87));
  EXPECT_FALSE(picture_of(*data, 1, "words"));
  EXPECT_EQ(captions_of(*data, 1), (std::vector<std::string>{"one", "two"}));
  EXPECT_TRUE(captions_of(*data, 0).empty());
}

TEST(Results, ABaselineIsARowWithWhatItSaysOfTheSet) {
  const ScratchFolder folder;
  write_file_atomically(folder / "pixels.json", R"({"unseen_style": {"a": 0.25, "c": 12}, "other": {"b": 0.5}})");
  const std::vector<Baseline> baselines{Baseline::read(folder / "pixels.json")};
  const EvaluationInputs inputs{.sets = {}, .tokenizer = nullptr, .baselines = baselines};
  const auto rows = baseline_rows(inputs, "data/unseen_style/", {"a", "b"});
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_EQ(rows[0].source, "pixels");
  EXPECT_EQ(rows[0].values[0].number, 0.25);
  EXPECT_TRUE(rows[0].values[0].is_share);
  EXPECT_TRUE(std::isnan(rows[0].values[1].number)) << "it says nothing of this set's b";
  EXPECT_FALSE(baseline_rows(inputs, "unseen_style", {"c"}, false)[0].values[0].is_share);
}

TEST(Results, SamplesThatHaveAllOfItAreRequiredAndOthersAllowed) {
  const ScratchFolder folder;
  const auto make = [&](const std::string& name, const std::vector<int>& images, const std::vector<int>& captions) {
    const auto has = [](const std::vector<int>& some, uint64_t i) {
      return std::find(some.begin(), some.end(), static_cast<int>(i)) != some.end();
    };
    return make_data_set(folder / name, 13, [=](uint64_t i) {
      const bool has_image = has(images, i);
      return SmallSample{has_image ? plain_image(9) : std::vector<std::byte>(),
                         has(captions, i) || !has_image ? std::vector<std::string>{"x"} : std::vector<std::string>()};
    });
  };
  const auto two_pairs = make("two", {1, 4, 7}, {1, 7});
  require_parts(*two_pairs, kPairs, "the measure");
  require_parts(*two_pairs, kPairs, "the measure", 2);
  EXPECT_NE(
      user_error_of([&] { require_parts(*two_pairs, kPairs, "the measure", 3); })
          .find("the measure needs images and captions that belong together: 2 of 13 samples have both, at least 3 "
                "must"),
      std::string::npos);
  const auto no_pair = make("none", {1, 4}, {});
  EXPECT_NE(user_error_of([&] { require_parts(*no_pair, kPairs, "the measure"); }).find("0 of 13 samples have both"),
            std::string::npos);

  using Notes = std::vector<std::string>;
  EXPECT_EQ(with_lacking({"a note"}, *two_pairs, kPairs),
            (Notes{"a note", "of 13 samples 10 have no image, 1 no caption"}));
  EXPECT_EQ(with_lacking({"a note"}, *two_pairs, {.captions = true}),
            (Notes{"a note", "of 13 samples 1 have no caption"}));
  const auto whole = make_data_set(folder / "whole", 2, [](uint64_t) { return SmallSample{plain_image(9), {"x"}}; });
  EXPECT_EQ(with_lacking({"a note"}, *whole, kPairs), Notes{"a note"});
}

TEST(Results, WhatASetLacksIsNamed) {
  const ScratchFolder folder;
  const auto words = make_data_set(folder / "words", 2, [](uint64_t) { return SmallSample{{}, {"x"}}; });
  const auto labelled = make_data_set(folder / "labelled", 2, [](uint64_t i) {
    return SmallSample{plain_image(9), {}, static_cast<int64_t>(i)};
  });
  const auto refusal = [](const Dataset& data, const PartChoice& parts) {
    return user_error_of([&] { require_parts(data, parts, "the measure"); });
  };
  EXPECT_NE(refusal(*words, kPairs).find("the measure needs images"), std::string::npos);
  EXPECT_NE(refusal(*words, {.captions = true, .labels = true}).find("needs labels"), std::string::npos);
  EXPECT_NE(refusal(*labelled, {.images = true, .captions = true, .labels = true}).find("needs captions"),
            std::string::npos);
  require_parts(*labelled, {.images = true, .labels = true}, "the measure");
  require_parts(*words, {.captions = true}, "the measure");

  // A question is no caption, nor is a phrase, and no measure takes one for the other.
  const auto questions = make_data_set(folder / "questions", 3, [](uint64_t i) {
    SmallSample sample{plain_image(9), {"what?"}, {}, {TextRole::kQuestion}};
    if (i == 1) {
      sample.captions.push_back("this");
      sample.roles.push_back(TextRole::kAnswer);
    }
    return sample;
  });
  require_parts(*questions, {.images = true, .questions = true}, "the measure", 3);
  require_parts(*questions, {.images = true, .questions = true, .answers = true}, "the measure");
  EXPECT_NE(refusal(*questions, kPairs).find("needs captions"), std::string::npos);
  EXPECT_NE(refusal(*questions, {.phrases = true}).find("needs phrases"), std::string::npos);
  EXPECT_NE(refusal(*questions, {.boxes = true}).find("needs boxes"), std::string::npos);
  EXPECT_NE(refusal(*words, {.questions = true}).find("needs questions"), std::string::npos);
  EXPECT_NE(user_error_of([&] {
              require_parts(*questions, {.images = true, .questions = true, .answers = true}, "the measure", 2);
            }).find("needs images and questions and answers that belong together: 1 of 3 samples have them"),
            std::string::npos);
  EXPECT_EQ(captions_of(*questions, 1, TextRole::kAnswer), (std::vector<std::string>{"this"}));
  EXPECT_EQ(captions_of(*questions, 1, TextRole::kQuestion), (std::vector<std::string>{"what?"}));
  EXPECT_TRUE(captions_of(*questions, 1).empty());
}

TEST(MetricDirection, LossesPerplexitiesAndErrorsAreBetterIfSmaller) {
  for (const char* metric : {"unseen style: loss", "test: loss.contrastive", "test: perplexity",
                             "test: perplexity, text only", "test: reconstruction error", "loss"}) {
    EXPECT_TRUE(is_smaller_better(metric)) << metric;
  }
  for (const char* metric :
       {"unseen style: text to image recall@10", "test: top-1 accuracy", "test: mAP at 0.5", "test, en chrF",
        "test: zero-shot class mean", "loss set: VQA score", "error: accuracy at 0.5", "test: masked-token accuracy"}) {
    EXPECT_FALSE(is_smaller_better(metric)) << metric;
  }
}

}  // namespace
}  // namespace triptych::test
