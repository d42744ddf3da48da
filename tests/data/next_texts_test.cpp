#include "data/next_texts.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/captions.h"
#include "loader_support.h"

namespace triptych::test {
namespace {

// Texts of 1 to 5 words, none in the fourth sample.
struct Texts {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> data = make_data_set(folder / "texts", 5, [](uint64_t i) {
    SmallSample s{.image = sound_image(i), .captions = {}};
    if (i == 3) return s;
    s.captions = {"one"};
    for (uint64_t k = 0; k < i; ++k) s.captions[0] += " more";
    return s;
  });
  std::shared_ptr<const Tokenizer> tokenizer =
      Tokenizer::from_bytes(train_tokenizer(dataset_captions(data), static_cast<int64_t>(data->num_captions()),
                                            {.vocabulary = 14, .character_coverage = 1}),
                            "test");

  Batch rows(std::vector<FieldSource> fields, bool training = false, int64_t batch = 5) const {
    LoaderOptions options;
    options.fields = std::move(fields);
    options.global_batch = batch;
    options.training = training;
    options.seed = 3;
    Loader loader(data, options);
    return loader.next();
  }
};

const Texts& texts() {
  static const Texts all;
  return all;
}

template <typename T>
std::vector<T> values_in(const Batch& batch, const char* name) {
  const auto values = batch.values<T>(name);
  return {values.begin(), values.end()};
}

TEST(NextTexts, ARowHasTheTextOfTheNextSampleAndItsOwnImage) {
  const std::vector<FieldSource> fields{pixels_field(4), text_fields(texts().tokenizer, 9, 14), presence_fields()};
  const Batch own = texts().rows(fields), next = texts().rows(with_texts_of_next(fields));
  EXPECT_EQ(values_in<uint8_t>(next, "pixels"), values_in<uint8_t>(own, "pixels"));
  EXPECT_EQ(values_in<uint8_t>(next, "image_present"), std::vector<uint8_t>(5, 1));
  // The third's next has none, and the fourth shows none of its own.
  EXPECT_EQ(values_in<uint8_t>(next, "text_present"), (std::vector<uint8_t>{1, 1, 0, 0, 1}));
  const std::vector<int32_t> tokens = values_in<int32_t>(own, "tokens"), of_next = values_in<int32_t>(next, "tokens");
  const auto row = [](const std::vector<int32_t>& all, int64_t i) {
    return std::vector<int32_t>(all.begin() + i * 9, all.begin() + (i + 1) * 9);
  };
  EXPECT_EQ(row(of_next, 0), row(tokens, 1));
  EXPECT_EQ(row(of_next, 1), row(tokens, 2));
  EXPECT_EQ(row(of_next, 2), row(tokens, 3)) << "begin and end";
  EXPECT_EQ(row(of_next, 4), row(tokens, 0));
  EXPECT_NE(row(tokens, 0), row(tokens, 1));
}

TEST(MatchedField, IsHalfOfATrainingAndAllOfAnEvaluation) {
  const std::vector<FieldSource> fields{matched_field()};
  EXPECT_EQ(values_in<uint8_t>(texts().rows(fields), "matched"), std::vector<uint8_t>(5, 1));
  EXPECT_EQ(values_in<uint8_t>(texts().rows(fields, false, 7), "matched"), (std::vector<uint8_t>{1, 1, 1, 1, 1, 0, 0}))
      << "rows without a sample";
  const Batch whole = texts().rows(fields, true);
  EXPECT_EQ(values_in<uint8_t>(whole, "matched"), values_in<uint8_t>(texts().rows(fields, true), "matched"));
  int64_t matched = 0;
  const Batch synthetic = synthetic_batch(fields, 3, 0, 1000);
  for (const uint8_t one : values_in<uint8_t>(synthetic, "matched")) matched += one;
  EXPECT_NEAR(static_cast<double>(matched), 500, 80) << "five standard deviations";
}

}  // namespace
}  // namespace triptych::test
