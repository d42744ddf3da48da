#include "data/modality_dropout.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "loader_support.h"

namespace triptych::test {
namespace {

SampleRecord record_of(bool image, bool captions) {
  SampleRecord record;
  record.image_bytes = image ? 9 : 0;
  record.num_captions = captions ? 2 : 0;
  return record;
}

TEST(ModalityDropout, HidesTheSharesItSaysAndNeverBoth) {
  constexpr uint64_t kPositions = 20000;
  const SampleRecord whole = record_of(true, true);
  for (const ModalityDropout dropout :
       {ModalityDropout{}, {.image = 0.2, .text = 0.1}, {.image = 0.5, .text = 0.5}, {.image = 1}, {.text = 1}}) {
    std::map<SampleParts, double> shares;
    for (uint64_t p = 0; p < kPositions; ++p) shares[shown_parts(whole, dropout, 3, p)] += 1.0 / kPositions;
    // Five standard deviations of a share's estimate.
    const auto expect_share = [&](SampleParts parts, double share) {
      EXPECT_NEAR(shares[parts], share, 5 * std::sqrt(share * (1 - share) / kPositions) + 1e-9);
    };
    expect_share(SampleParts::kCaptions, dropout.image);
    expect_share(SampleParts::kImage, dropout.text);
    expect_share(SampleParts::kAll, 1 - dropout.image - dropout.text);
    EXPECT_EQ(shares[SampleParts::kNone], 0);
  }
  // The only part of a sample is never hidden.
  for (uint64_t p = 0; p < 1000; ++p) {
    const ModalityDropout most{.image = 0.5, .text = 0.5};
    EXPECT_EQ(shown_parts(record_of(true, false), most, 3, p), SampleParts::kImage);
    EXPECT_EQ(shown_parts(record_of(false, true), most, 3, p), SampleParts::kCaptions);
    EXPECT_EQ(shown_parts(record_of(false, false), most, 3, p), SampleParts::kNone);
  }
}

TEST(ModalityDropout, IsDrawnByTheSeedAndThePosition) {
  const ModalityDropout half{.image = 0.5};
  const auto draws = [&](uint64_t seed, uint64_t first) {
    std::vector<SampleParts> parts;
    for (uint64_t p = first; p < first + 64; ++p) parts.push_back(shown_parts(record_of(true, true), half, seed, p));
    return parts;
  };
  EXPECT_EQ(draws(3, 100), draws(3, 100));
  EXPECT_NE(draws(3, 100), draws(4, 100));
  EXPECT_NE(draws(3, 100), draws(3, 164)) << "another epoch hides others";
}

TEST(ModalityDropout, RefusesSharesThatCannotBe) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const ModalityDropout dropout : {ModalityDropout{.image = -0.1},
                                        {.text = -0.1},
                                        {.image = 1.1},
                                        {.image = 0.6, .text = 0.5},
                                        {.image = nan},
                                        {.text = nan}}) {
    EXPECT_THROW(check_modality_dropout(dropout), UserError) << dropout.image << " " << dropout.text;
  }
  check_modality_dropout({.image = 0.5, .text = 0.5});
  LoaderOptions options = training_options();
  options.modality_dropout = {.image = 0.6, .text = 0.5};
  EXPECT_THROW(Loader(folders().sound, options), UserError);
}

// ---- In a loader

constexpr ModalityDropout kSome{.image = 0.3, .text = 0.3};

LoaderOptions dropping_options() {
  LoaderOptions options = training_options();
  options.modality_dropout = kSome;
  return options;
}

// A row that hides a part is that of a sample that never had it; what it shows is what it shows without dropout.
TEST(ModalityDropout, ARowIsAsIfTheSampleLackedThePart) {
  const std::vector<Batch> whole = take(folders().sound, training_options(), 8);
  const std::vector<Batch> found = take(folders().sound, dropping_options(), 8);
  std::vector<int32_t> empty(16);
  const int32_t empty_length = folders().tokenizer->encode("", empty);
  int num_without_image = 0, num_without_text = 0;
  for (std::size_t b = 0; b < found.size(); ++b) {
    ASSERT_EQ(found[b].sample_ids, whole[b].sample_ids);
    for (int64_t r = 0; r < 12; ++r) {
      const uint64_t sample = found[b].sample_ids[static_cast<std::size_t>(r)],
                     position = b * 12 + static_cast<uint64_t>(r);
      const SampleParts shown = shown_parts(folders().sound->record(sample), kSome, training_options().seed, position);
      const bool image = has_part(shown, SampleParts::kImage), text = has_part(shown, SampleParts::kCaptions);
      EXPECT_EQ(found[b].row<uint8_t>("image_present", r)[0], image);
      EXPECT_EQ(found[b].row<uint8_t>("text_present", r)[0], text);
      const auto pixels = found[b].row<uint8_t>("pixels", r);
      const auto tokens = found[b].row<int32_t>("tokens", r);
      if (image) {
        EXPECT_TRUE(std::ranges::equal(pixels, whole[b].row<uint8_t>("pixels", r)));
      } else {
        EXPECT_TRUE(std::ranges::all_of(pixels, [](uint8_t x) { return x == 0; }));
      }
      if (text) {
        EXPECT_TRUE(std::ranges::equal(tokens, whole[b].row<int32_t>("tokens", r)));
      } else {
        EXPECT_TRUE(std::ranges::equal(tokens, empty));
        EXPECT_EQ(found[b].row<int32_t>("lengths", r)[0], empty_length);
      }
      const SampleRecord record = folders().sound->record(sample);
      num_without_image += record.has_image() && !image;
      num_without_text += record.has_captions() && !text;
    }
  }
  EXPECT_GT(num_without_image, 10);
  EXPECT_GT(num_without_text, 10);
}

TEST(ModalityDropout, RanksWithWhateverFieldsHideTheSame) {
  const std::vector<Batch> whole = take(folders().damaged, dropping_options(), 8);
  for (const int dp : {2, 3}) {
    for (int rank = 0; rank < dp; ++rank) {
      LoaderOptions options = dropping_options();
      options.dp_size = dp;
      options.dp_rank = rank;
      options.threads = 1 + rank;
      if (rank == 1) options.fields = {presence_fields()};
      const std::vector<Batch> mine = take(folders().damaged, options, 8);
      for (std::size_t b = 0; b < mine.size(); ++b) {
        for (const FieldSpec& field : mine[b].fields()) {
          const auto size = static_cast<std::size_t>(field.row_bytes());
          const auto begin = static_cast<std::size_t>(mine[b].first_index) * size;
          EXPECT_TRUE(std::ranges::equal(mine[b].bytes(field.name),
                                         whole[b].bytes(field.name).subspan(begin, mine[b].bytes(field.name).size())))
              << field.name << " of rank " << rank << " of " << dp;
        }
      }
    }
  }
}

// An image that is hidden is not read, so it is no fault then; it is one when it is shown.
TEST(ModalityDropout, ABrokenImageIsReplacedOnlyWhereItIsShown) {
  const auto replaced = [](const ModalityDropout& dropout, bool reads_images) {
    LoaderOptions options = dropping_options();
    options.modality_dropout = dropout;
    if (!reads_images) options.fields = {text_of_folders(), presence_fields()};
    Loader loader(folders().damaged, options);
    for (int step = 0; step < 16; ++step) loader.recycle(loader.next());
    return loader.stats().num_bad;
  };
  const uint64_t often = replaced({}, true), sometimes = replaced({.image = 0.5}, true);
  EXPECT_EQ(replaced({.image = 0.5}, false), sometimes) << "whether or not a rank reads the images";
  EXPECT_LT(sometimes, often);
  EXPECT_GT(sometimes, 0u);
  // Samples that lack the captions keep the image.
  EXPECT_EQ(replaced({.image = 1}, true), replaced({.image = 1}, false));
}

TEST(ModalityDropout, AnEvaluationHidesNothing) {
  LoaderOptions options = dropping_options();
  options.training = false;
  options.modality_dropout = {.image = 1};
  Loader loader(folders().sound, options);
  for (int64_t step = 0; step < loader.num_steps(); ++step) {
    const Batch batch = loader.next();
    for (int64_t r = 0; r < 12; ++r) {
      const uint64_t sample = batch.sample_ids[static_cast<std::size_t>(r)];
      const bool has_image = sample != kNoSample && folders().sound->record(sample).has_image();
      EXPECT_EQ(batch.row<uint8_t>("image_present", r)[0], has_image);
    }
  }
}

}  // namespace
}  // namespace triptych::test
