#include "data/field_source.h"

#include <algorithm>
#include <array>
#include <set>

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/philox.h"
#include "loader_support.h"

namespace triptych::test {
namespace {

LoaderOptions evaluation_options(std::vector<FieldSource> fields) {
  LoaderOptions options = training_options();
  options.fields = std::move(fields);
  options.training = false;
  return options;
}

std::vector<Batch> pass(const std::shared_ptr<const Dataset>& data, const LoaderOptions& options) {
  Loader loader(data, options);
  std::vector<Batch> batches;
  for (int64_t step = 0; step < loader.num_steps(); ++step) batches.push_back(loader.next());
  return batches;
}

template <typename Make>
void expect_refused(const char* words, const Make& make) {
  try {
    make();
    FAIL() << words;
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
  }
}

// A small set with labels: 0 to 4, and none in every seventh sample.
std::optional<int64_t> label_of(uint64_t i) {
  if (i % 7 == 3) return std::nullopt;
  return static_cast<int64_t>(i % 5);
}
struct Labelled {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> data = make_data_set(folder / "labelled", 23, [](uint64_t i) {
    SmallSample s{.image = sound_image(i), .captions = {"caption " + std::to_string(i)}, .label = label_of(i)};
    if (i == 8) s.image = broken_image();
    return s;
  });
};
const Labelled& labelled() {
  static const Labelled all;
  return all;
}

TEST(FieldSource, RefusesWhatCannotBe) {
  expect_refused("image size must be 1 to 8192, found 0", [] { pixels_field(0); });
  expect_refused("found 8193", [] { pixels_field(8193); });
  expect_refused("min_scale", [] { pixels_field(24, {.min_scale = 0}); });
  expect_refused("text length", [] { text_fields(nullptr, 1, 10); });
  expect_refused("vocabulary", [] { text_fields(nullptr, 16, 0); });
  expect_refused("5", [] { text_fields(folders().tokenizer, 16, 5); });
  expect_refused("number of classes", [] { label_field(0); });
  const std::vector<FieldSource> all{pixels_of_folders(), presence_fields()};
  EXPECT_THROW(sources_of(all, std::vector<std::string>{"pixels", "boxes"}), InternalError);
  const std::vector<FieldSource> one = sources_of(all, std::vector<std::string>{"text_present"});
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].fields.size(), 2u) << "the fields of a source come together";
}

TEST(TextFields, TargetsAreTheNextTokens) {
  for (const int64_t length : {16, 4}) {  // 4 cuts most captions
    LoaderOptions options = training_options();
    options.fields = {text_fields(folders().tokenizer, length, 100, {.targets = true})};
    std::set<int32_t> lengths;
    for (const Batch& batch : take(folders().damaged, options, 8)) {
      for (int64_t r = 0; r < 12; ++r) {
        const auto tokens = batch.row<int32_t>("tokens", r), targets = batch.row<int32_t>("targets", r);
        const int32_t used = batch.row<int32_t>("lengths", r)[0];
        const bool has_caption = batch.sample_ids[static_cast<std::size_t>(r)] % 9 != 5;
        lengths.insert(used);
        EXPECT_EQ(targets[static_cast<std::size_t>(used) - 2], has_caption ? kOwnEndId : -1) << "the last one learned";
        for (int64_t t = 0; t < length; ++t) {
          const auto at = static_cast<std::size_t>(t);
          EXPECT_EQ(targets[at], has_caption && t + 1 < used ? tokens[at + 1] : -1) << t << " of " << used;
        }
      }
    }
    EXPECT_GT(lengths.size(), 1u);
  }
}

TEST(TextFields, MayComeBeforeTheSourceThatFindsASampleBad) {
  LoaderOptions options = training_options();
  const std::vector<Batch> expected = take(folders().damaged, options, 8);
  std::swap(options.fields[0], options.fields[1]);
  const std::vector<Batch> found = take(folders().damaged, options, 8);
  for (std::size_t i = 0; i < 8; ++i) {
    for (const FieldSpec& field : expected[i].fields()) {
      EXPECT_TRUE(std::ranges::equal(found[i].bytes(field.name), expected[i].bytes(field.name))) << field.name;
    }
  }
}

TEST(LabelField, GivesTheDataSetsLabels) {
  for (const Batch& batch : pass(labelled().data, evaluation_options({label_field(5)}))) {
    ASSERT_EQ(batch.spec("label"), (FieldSpec{"label", DType::kInt32, {}}));
    for (std::size_t r = 0; r < 12; ++r) {
      const uint64_t sample = batch.sample_ids[r];
      const bool is_usable = sample != kNoSample && sample != 8;  // padding; broken
      EXPECT_EQ(batch.values<int32_t>("label")[r], is_usable ? label_of(sample).value_or(-1) : -1) << sample;
    }
  }
}

TEST(LabelField, ALabelOutOfRangeEndsTheRunWhateverShareMayBeBad) {
  LoaderOptions options = evaluation_options({label_field(4)});
  options.max_bad_fraction = 1;
  try {
    pass(labelled().data, options);
    FAIL() << "a label of 4 passed";
  } catch (const UserError& error) {
    // Threads read several at once: any of them may be the first.
    const std::string text = error.what();
    const Dataset& data = *labelled().data;
    bool names_one = false;
    for (uint64_t i = 0; i < data.size(); ++i) {
      names_one =
          names_one || (label_of(i) == 4 && text.find(data.sample_name(i) + " has label 4") != std::string::npos);
    }
    EXPECT_TRUE(names_one) << text;
  }
}

// A field that the project does not know: the picture turned by quarters, and how often.
class RotatedFiller : public RowFiller {
 public:
  explicit RotatedFiller(int64_t size) : size_(static_cast<std::size_t>(size)), pixels_(pixels_field(size).make()) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    std::vector<std::byte> upright(rows[0].size());
    const std::span<std::byte> row(upright);
    pixels_->fill(sample, FieldRows(&row, 1));
    const uint32_t turns = philox_word(random_key(sample.seed, "rotation", sample.position), 0) % 4;
    for (std::size_t y = 0; y < size_; ++y) {
      for (std::size_t x = 0; x < size_; ++x) {
        std::size_t from_y = y, from_x = x;
        for (uint32_t k = 0; k < turns; ++k) from_y = std::exchange(from_x, size_ - 1 - from_y);
        std::copy_n(&upright[(from_y * size_ + from_x) * 3], 3, &rows[0][(y * size_ + x) * 3]);
      }
    }
    values_of<int32_t>(rows[1])[0] = static_cast<int32_t>(turns);
  }
  void clear(FieldRows rows) override {
    std::ranges::fill(rows[0], std::byte{0});
    values_of<int32_t>(rows[1])[0] = -1;
  }

 private:
  std::size_t size_;
  std::unique_ptr<RowFiller> pixels_;
};

FieldSource rotated_fields(int64_t size) {
  return {.fields = {{"rotated", DType::kUInt8, {size, size, 3}}, {"turns", DType::kInt32, {}}},
          .reads = SampleParts::kImage,
          .make = [size] { return std::make_unique<RotatedFiller>(size); }};
}

TEST(FieldSource, AnyoneMayBringOne) {
  constexpr int64_t kSide = 24;
  LoaderOptions options = evaluation_options({rotated_fields(kSide), pixels_field(kSide)});
  std::set<int32_t> seen;
  for (const Batch& batch : pass(folders().damaged, options)) {
    for (int64_t r = 0; r < 12; ++r) {
      const auto rotated = batch.row<uint8_t>("rotated", r), upright = batch.row<uint8_t>("pixels", r);
      const int32_t turns = batch.row<int32_t>("turns", r)[0];
      seen.insert(turns);
      // One turn takes the top row, left to right, to the left column, bottom to top; corners go round.
      const auto corner = [&](std::span<const uint8_t> image, int32_t k) {
        const std::array<std::size_t, 4> corners{0, kSide - 1, kSide * kSide - 1, kSide * (kSide - 1)};
        return image[corners[static_cast<std::size_t>(k) % 4] * 3];
      };
      for (int32_t k = 0; k < 4; ++k) EXPECT_EQ(corner(rotated, k), corner(upright, turns < 0 ? k : k + turns));
      const uint64_t sample = batch.sample_ids[static_cast<std::size_t>(r)];
      EXPECT_EQ(turns < 0, sample == kNoSample || kBroken.contains(sample));
    }
  }
  EXPECT_EQ(seen, (std::set<int32_t>{-1, 0, 1, 2, 3}));
}

TEST(FieldSource, WhicheverARankHasItFindsTheSameSamplesBad) {
  const auto found = [](std::vector<FieldSource> fields) {
    LoaderOptions options = training_options();
    options.fields = std::move(fields);
    Loader loader(folders().damaged, options);
    std::vector<uint64_t> samples, bad;
    for (int step = 0; step < 8; ++step) {
      const Batch batch = loader.next();
      samples.insert(samples.end(), batch.sample_ids.begin(), batch.sample_ids.end());
    }
    for (const BadSample& sample : loader.stats().bad) bad.push_back(sample.sample);
    return std::tuple(samples, bad, loader.stats().num_bad);
  };
  const auto all = found({pixels_of_folders(), text_of_folders(), presence_fields(), label_field(3)});
  EXPECT_EQ(std::get<1>(all).size(), kBroken.size());
  EXPECT_EQ(found({}), all);
  EXPECT_EQ(found({text_of_folders()}), all);
  EXPECT_EQ(found({label_field(3), presence_fields()}), all);
  EXPECT_EQ(found({rotated_fields(8)}), all);
}

TEST(Loader, EvaluatesEveryCaptionOnce) {
  struct Item {
    uint64_t sample;
    uint32_t number;
    std::string caption;
  };
  std::vector<Item> items;
  for (uint64_t i = 0; i < kSize; ++i) {
    const std::vector<std::string> captions = mixed_sample(i).captions;
    for (uint32_t k = 0; k < captions.size(); ++k) items.push_back({i, k, captions[k]});
  }
  ASSERT_EQ(items.size(), 126u);  // 42 samples have three
  LoaderOptions options = evaluation_options({text_of_folders(), presence_fields()});
  EXPECT_TRUE(pass(folders().sound, options)[0].caption_numbers.empty());
  options.items = EvaluationItems::kCaptions;
  for (const int dp : {1, 2}) {
    options.dp_size = dp;
    std::size_t num_seen = 0;
    for (options.dp_rank = 0; options.dp_rank < dp; ++options.dp_rank) {
      Loader loader(folders().sound, options);
      ASSERT_EQ(loader.num_steps(), 11);
      for (int64_t step = 0; step < 11; ++step) {
        Batch batch = loader.next();
        ASSERT_EQ(batch.caption_numbers.size(), static_cast<std::size_t>(12 / dp));
        for (int64_t r = 0; r < batch.num_rows(); ++r) {
          const auto position = static_cast<std::size_t>(step * 12 + batch.first_index + r);
          const auto row = static_cast<std::size_t>(r);
          if (position >= items.size()) {
            EXPECT_EQ(batch.sample_ids[row], kNoSample);
            EXPECT_FALSE(batch.row<uint8_t>("text_present", r)[0]);
            continue;
          }
          ++num_seen;
          EXPECT_EQ(batch.sample_ids[row], items[position].sample);
          EXPECT_EQ(batch.caption_numbers[row], items[position].number);
          std::vector<int32_t> expected(16);
          folders().tokenizer->encode(items[position].caption, expected);
          EXPECT_TRUE(std::ranges::equal(batch.row<int32_t>("tokens", r), expected)) << items[position].caption;
        }
        loader.recycle(std::move(batch));
      }
    }
    EXPECT_EQ(num_seen, items.size());
  }
  options.dp_rank = 0;
  const ScratchFolder folder;
  const auto pictures = make_data_set(folder / "pictures", 3, [](uint64_t i) {
    return SmallSample{sound_image(i), {}};
  });
  expect_refused("needs some", [&] { Loader(pictures, options); });
}

TEST(SyntheticBatch, IsAFunctionOfTheSeedAndTheGlobalRow) {
  const std::vector<FieldSource> sources{pixels_field(5), text_fields(nullptr, 13, 98, {.targets = true}),
                                         label_field(7), presence_fields()};
  const Batch whole = synthetic_batch(sources, 3, 0, 60), part = synthetic_batch(sources, 3, 20, 7);
  EXPECT_EQ(part.first_index, 20);
  for (const FieldSpec& field : whole.fields()) {
    const auto size = static_cast<std::size_t>(field.row_bytes());
    EXPECT_TRUE(std::ranges::equal(whole.bytes(field.name).subspan(20 * size, 7 * size), part.bytes(field.name)))
        << field.name;
    EXPECT_FALSE(std::ranges::equal(synthetic_batch(sources, 4, 20, 7).bytes(field.name), part.bytes(field.name)))
        << field.name;
  }
  // Values that runs have been measured with.
  const auto word = [](const char* purpose, int64_t i) {
    return philox_word(random_key(3, purpose, 0), static_cast<uint64_t>(i));
  };
  std::set<int32_t> labels;
  int num_without_text = 0;
  for (int64_t r = 0; r < 60; ++r) {
    for (int64_t i = 0; i < 75; ++i) {
      EXPECT_EQ(whole.row<uint8_t>("pixels", r)[static_cast<std::size_t>(i)],
                word("synthetic/pixels", r * 75 + i) >> 24);
    }
    const int32_t length = whole.row<int32_t>("lengths", r)[0];
    EXPECT_EQ(length, static_cast<int32_t>(2 + word("synthetic/lengths", r) % 12));
    const auto tokens = whole.row<int32_t>("tokens", r), targets = whole.row<int32_t>("targets", r);
    const bool has_text = whole.row<uint8_t>("text_present", r)[0] != 0;
    num_without_text += !has_text;
    for (int64_t t = 0; t < 13; ++t) {
      const auto at = static_cast<std::size_t>(t);
      EXPECT_EQ(tokens[at], t < length ? static_cast<int32_t>(word("synthetic/tokens", r * 13 + t) % 98) : 0);
      EXPECT_EQ(targets[at], has_text && t + 1 < length ? tokens[at + 1] : -1);
    }
    labels.insert(whole.row<int32_t>("label", r)[0]);
  }
  EXPECT_EQ(labels, (std::set<int32_t>{-1, 0, 1, 2, 3, 4, 5, 6}));
  EXPECT_TRUE(num_without_text > 3 && num_without_text < 25) << num_without_text << " of 60, one in five wanted";
  EXPECT_THROW(whole.values<uint8_t>("tokens"), InternalError) << "another type";
}

}  // namespace
}  // namespace triptych::test
