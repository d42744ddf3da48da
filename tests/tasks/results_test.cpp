#include "tasks/results.h"

#include <cmath>
#include <string>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/image_decoder.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"

namespace triptych::test {
namespace {

std::string error_of(const std::function<void()>& act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  return "no error";
}

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

TEST(Results, PairsAreRequiredOfEverySample) {
  const ScratchFolder folder;
  const auto make = [&](const std::string& name, int without_image, int without_caption) {
    return make_data_set(folder / name, 13, [=](uint64_t i) {
      return SmallSample{
          static_cast<int>(i) == without_image ? std::vector<std::byte>() : plain_image(9),
          static_cast<int>(i) == without_caption ? std::vector<std::string>() : std::vector<std::string>{"x"}};
    });
  };
  require_pairs(*make("whole", -1, -1));
  const std::string one = error_of([&] { require_pairs(*make("one", 11, -1)); });
  EXPECT_NE(one.find("1 of 13 samples lack"), std::string::npos) << one;
  EXPECT_NE(one.find("shard_00001.h5 sample 1"), std::string::npos) << one;
  const std::string two = error_of([&] { require_pairs(*make("two", 4, 2)); });
  EXPECT_NE(two.find("2 of 13 samples lack"), std::string::npos) << two;
  EXPECT_NE(two.find("shard_00000.h5 sample 2"), std::string::npos) << two;
}

TEST(Results, WhatASetLacksIsNamed) {
  const ScratchFolder folder;
  const auto words = make_data_set(folder / "words", 2, [](uint64_t) { return SmallSample{{}, {"x"}}; });
  const auto labelled = make_data_set(folder / "labelled", 2, [](uint64_t i) {
    return SmallSample{plain_image(9), {}, static_cast<int64_t>(i)};
  });
  const auto refusal = [](const Dataset& data, bool images, bool captions, bool labels) {
    return error_of([&] { require_parts(data, images, captions, labels, "the measure"); });
  };
  EXPECT_NE(refusal(*words, true, true, false).find("the measure needs images"), std::string::npos);
  EXPECT_NE(refusal(*words, false, true, true).find("needs labels"), std::string::npos);
  EXPECT_NE(refusal(*labelled, true, true, true).find("needs captions"), std::string::npos);
  require_parts(*labelled, true, false, true, "the measure");
  require_parts(*words, false, true, false, "the measure");
}

}  // namespace
}  // namespace triptych::test
