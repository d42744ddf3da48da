#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "data/random_subset.h"
#include "data/token_masking.h"
#include "loader_support.h"

namespace triptych::test {
namespace {

using Tokens = std::vector<int32_t>;

// A frequency of `count` draws, each with this probability, to within five standard errors: by chance once in two
// million.
void expect_frequency(int64_t found, int64_t count, double probability, const char* what) {
  const auto n = static_cast<double>(count);
  EXPECT_NEAR(static_cast<double>(found) / n, probability, 5 * std::sqrt(probability * (1 - probability) / n)) << what;
}

TEST(DrawSubset, GivesEverySetAsOften) {
  constexpr int64_t kDraws = 30000;
  std::map<Tokens, int64_t> found;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    Tokens chosen(2);
    draw_subset(random_key(3, "subset", draw), 5, chosen);
    ++found[chosen];
  }
  ASSERT_EQ(found.size(), 10u) << "5 over 2";
  for (const auto& [chosen, count] : found) {
    EXPECT_TRUE(chosen[0] < chosen[1] && chosen[0] >= 0 && chosen[1] < 5);
    expect_frequency(count, kDraws, 0.1, "of ten");
  }
  Tokens all(4);
  draw_subset(random_key(1, "subset", 0), 4, all);
  EXPECT_EQ(all, (Tokens{0, 1, 2, 3}));
  EXPECT_THROW(draw_subset(random_key(1, "subset", 0), 3, all), InternalError);
  draw_subset(random_key(1, "subset", 0), 0, {});
}

// Python's max(1, round(0.15 * n)), of n = 0, 1, ..., as create_pretraining_data.py of BERT has it, but for halves.
TEST(TokenMasking, HidesTheNumberThatBertHides) {
  const std::vector<std::pair<int64_t, int64_t>> expected{{0, 0},  {1, 1},  {2, 1},  {6, 1},    {9, 1},
                                                          {11, 2}, {16, 2}, {17, 3}, {126, 19}, {509, 76}};
  for (const auto& [inner, hidden] : expected) EXPECT_EQ(masked_token_count(inner, 0.15), hidden) << inner;
  EXPECT_EQ(masked_token_count(10, 1), 10);
}

TEST(TokenMasking, ChangesWhatItSaysAndNothingElse) {
  constexpr int64_t kLength = 22, kHidden = 6;  // 0.3 of 20
  constexpr int32_t kPieces = 50, kMask = 63;
  constexpr uint64_t kTexts = 4000;
  const std::vector<int32_t> kSpecial{kOwnPadId, kOwnUnknownId, kOwnBeginId, kOwnEndId};
  const TokenMasking masking{.share = 0.3, .mask_share = 0.5, .random_share = 0.25};
  Tokens original{kOwnBeginId};
  for (int32_t t = 1; t + 1 < kLength; ++t) original.push_back(3 + t);  // each once, 4 to 23
  original.push_back(kOwnEndId);
  original.resize(26, kOwnPadId);
  int64_t num_masks = 0, num_kept = 0;
  std::map<int32_t, int64_t> drawn, by_place;
  std::set<Tokens> sets;
  for (uint64_t text = 0; text < kTexts; ++text) {
    Tokens tokens = original, positions(8), targets(8);
    mask_tokens(tokens, kLength, masking, {.num_pieces = kPieces, .mask_token = kMask, .special = kSpecial}, 9, text,
                positions, targets);
    sets.insert(positions);
    for (std::size_t k = 0; k < 8; ++k) {
      if (k >= kHidden) {
        EXPECT_TRUE(positions[k] == -1 && targets[k] == -1);
        continue;
      }
      const auto at = static_cast<std::size_t>(positions[k]);
      ASSERT_TRUE(at >= 1 && at + 1 < kLength && (k == 0 || positions[k] > positions[k - 1]));
      EXPECT_EQ(targets[k], original[at]);
      ++by_place[positions[k]];
      num_masks += tokens[at] == kMask;
      num_kept += tokens[at] == original[at];
      if (tokens[at] != kMask && tokens[at] != original[at]) ++drawn[tokens[at]];
      tokens[at] = original[at];
    }
    EXPECT_EQ(tokens, original) << "what is not asked for stays";
  }
  constexpr auto kAll = static_cast<int64_t>(kTexts) * kHidden;
  expect_frequency(num_masks, kAll, 0.5, "mask token");
  // A drawn token is one of the 46 pieces of text, by chance the one that stood there.
  expect_frequency(num_kept, kAll, 0.25 + 0.25 / 46, "kept");
  EXPECT_EQ(drawn.begin()->first, kOwnEndId + 1);
  EXPECT_EQ(drawn.rbegin()->first, kPieces - 1);
  for (const auto& [place, count] : by_place) expect_frequency(count, static_cast<int64_t>(kTexts), 0.3, "place");
  EXPECT_EQ(by_place.size(), 20u);
  EXPECT_GT(sets.size(), kTexts / 2) << "texts differ";
}

TEST(TokenMasking, IsAFunctionOfTheSeedAndThePosition) {
  const auto run = [](uint64_t seed, uint64_t position) {
    Tokens tokens(30, 7), positions(5), targets(5);
    mask_tokens(tokens, 30, {}, {.num_pieces = 20, .mask_token = 20}, seed, position, positions, targets);
    return std::pair(tokens, positions);
  };
  EXPECT_EQ(run(4, 11), run(4, 11));
  EXPECT_NE(run(4, 11).second, run(5, 11).second);
  EXPECT_NE(run(4, 11).second, run(4, 12).second);
}

TEST(MaskedTextFields, AreTheTextWithHiddenTokens) {
  const TextOptions options{.targets = true, .masking = TokenMasking{.share = 0.5}};
  LoaderOptions with = training_options(), without = training_options();
  with.fields = {text_fields(folders().tokenizer, 16, 101, options)};
  without.fields = {text_of_folders({.targets = true})};
  EXPECT_THROW(text_fields(folders().tokenizer, 16, folders().tokenizer->size(), options), UserError)
      << "no row for the mask token";
  const std::vector<Batch> masked = take(folders().damaged, with, 8), plain = take(folders().damaged, without, 8);
  int64_t num_masks = 0;
  for (std::size_t step = 0; step < 8; ++step) {
    for (int64_t r = 0; r < 12; ++r) {
      const auto tokens = masked[step].row<int32_t>("tokens", r), original = plain[step].row<int32_t>("tokens", r);
      const auto positions = masked[step].row<int32_t>("masked_positions", r);
      const auto targets = masked[step].row<int32_t>("masked_targets", r);
      ASSERT_EQ(positions.size(), 7u);
      const int64_t length = plain[step].row<int32_t>("lengths", r)[0];
      const bool has_caption = masked[step].sample_ids[static_cast<std::size_t>(r)] % 9 != 5;
      const int64_t expected = has_caption ? masked_token_count(length - 2, 0.5) : 0;
      EXPECT_EQ(std::ranges::count_if(positions, [](int32_t at) { return at >= 0; }), expected);
      Tokens restored(tokens.begin(), tokens.end());
      for (std::size_t k = 0; k < 7 && positions[k] >= 0; ++k) {
        num_masks += restored[static_cast<std::size_t>(positions[k])] == 100;
        restored[static_cast<std::size_t>(positions[k])] = targets[k];
      }
      EXPECT_TRUE(std::ranges::equal(restored, original));
      EXPECT_TRUE(std::ranges::equal(masked[step].row<int32_t>("targets", r), plain[step].row<int32_t>("targets", r)))
          << "a decoder learns the text as it is";
      EXPECT_TRUE(std::ranges::equal(masked[step].row<int32_t>("lengths", r), plain[step].row<int32_t>("lengths", r)));
    }
  }
  EXPECT_GT(num_masks, 0);
}

// ---- Patches

void expect_sound_rows(const Batch& batch, int64_t r, bool has_image) {
  const auto visible = batch.row<int32_t>("visible_patches", r), masked = batch.row<int32_t>("masked_patches", r),
             sources = batch.row<int32_t>("patch_sources", r);
  ASSERT_TRUE(visible.size() == 3 && masked.size() == 6 && sources.size() == 9);
  EXPECT_TRUE(std::ranges::is_sorted(visible));
  Tokens both(visible.begin(), visible.end()), expected(9);
  for (std::size_t k = 0; k < 3; ++k) expected[static_cast<std::size_t>(visible[k])] = static_cast<int32_t>(k) + 1;
  EXPECT_TRUE(std::ranges::equal(sources, expected));
  if (!has_image) {
    EXPECT_TRUE(std::ranges::all_of(masked, [](int32_t patch) { return patch == -1; }));
    return;
  }
  EXPECT_TRUE(std::ranges::is_sorted(masked));
  both.insert(both.end(), masked.begin(), masked.end());
  std::ranges::sort(both);
  EXPECT_EQ(both, (Tokens{0, 1, 2, 3, 4, 5, 6, 7, 8})) << "every patch once";
}

TEST(PatchMaskFields, TellTheVisibleFromTheMaskedOnAnyMesh) {
  LoaderOptions options = training_options();
  options.fields = {patch_mask_fields(9, 3), presence_fields()};
  const std::vector<Batch> whole = take(folders().sound, options, 8);
  std::set<Tokens> sets;
  for (const Batch& batch : whole) {
    for (int64_t r = 0; r < 12; ++r) {
      expect_sound_rows(batch, r, batch.row<uint8_t>("image_present", r)[0] != 0);
      const auto visible = batch.row<int32_t>("visible_patches", r);
      sets.emplace(visible.begin(), visible.end());
    }
  }
  EXPECT_GT(sets.size(), 40u) << "of 84 sets, in 96 rows";
  options.dp_size = 3;
  for (options.dp_rank = 0; options.dp_rank < 3; ++options.dp_rank) {
    const std::vector<Batch> mine = take(folders().sound, options, 8);
    for (std::size_t step = 0; step < 8; ++step) {
      for (int64_t r = 0; r < 4; ++r) {
        EXPECT_TRUE(std::ranges::equal(mine[step].row<int32_t>("visible_patches", r),
                                       whole[step].row<int32_t>("visible_patches", options.dp_rank * 4 + r)));
      }
    }
  }
}

// An evaluation's rows without a sample, and those whose image cannot be read.
TEST(PatchMaskFields, OfNoSampleAskForNothing) {
  LoaderOptions options = training_options();
  options.training = false;
  options.fields = {patch_mask_fields(9, 3), pixels_of_folders()};
  Loader loader(folders().damaged, options);
  int64_t num_empty = 0;
  for (int64_t step = 0; step < loader.num_steps(); ++step) {
    const Batch batch = loader.next();
    for (int64_t r = 0; r < 12; ++r) {
      const uint64_t sample = batch.sample_ids[static_cast<std::size_t>(r)];
      const bool has_image = sample != kNoSample && !kBroken.contains(sample) && sample % 9 != 4;
      num_empty += !has_image;
      expect_sound_rows(batch, r, has_image);
    }
  }
  EXPECT_EQ(num_empty, 1 + 3 + 5) << "padding, broken, without an image";
}

TEST(PatchMaskFields, RefuseToShowAllOrNothing) {
  EXPECT_THROW(patch_mask_fields(9, 0), UserError);
  EXPECT_THROW(patch_mask_fields(9, 9), UserError);
}

TEST(SyntheticBatch, OfMaskedFieldsIsAFunctionOfTheSeedAndTheGlobalRow) {
  const std::vector<FieldSource> sources{patch_mask_fields(9, 3), presence_fields(),
                                         text_fields(nullptr, 13, 98, {.masking = TokenMasking{}})};
  const Batch whole = synthetic_batch(sources, 3, 0, 60), part = synthetic_batch(sources, 3, 20, 7);
  for (const FieldSpec& field : whole.fields()) {
    const auto size = static_cast<std::size_t>(field.row_bytes());
    EXPECT_TRUE(std::ranges::equal(whole.bytes(field.name).subspan(20 * size, 7 * size), part.bytes(field.name)))
        << field.name;
  }
  for (int64_t r = 0; r < 60; ++r) {
    expect_sound_rows(whole, r, whole.row<uint8_t>("image_present", r)[0] != 0);
    EXPECT_TRUE(whole.row<uint8_t>("text_present", r)[0] != 0 || whole.row<int32_t>("masked_positions", r)[0] == -1);
  }
}

}  // namespace
}  // namespace triptych::test
