#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/file.h"
#include "data/class_names.h"
#include "data/part_counts.h"
#include "data/sample_order.h"
#include "loader_support.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

/// Texts of two sizes of set, and pictures that say by their captions which set they are of.
SmallSample named_sample(const std::string& set, uint64_t i) {
  SmallSample s;
  if (i % 5 != 2) s.image = sound_image(i);
  s.captions = {set + " number " + std::to_string(i)};
  return s;
}

struct MixedFolders {
  ScratchFolder folder;
  std::shared_ptr<const Dataset> left =
      make_data_set(folder / "left", 31, [](uint64_t i) { return named_sample("left", i); });
  std::shared_ptr<const Dataset> right =
      make_data_set(folder / "right", 14, [](uint64_t i) { return named_sample("right", i); });
  std::shared_ptr<const Dataset> both = joined({"left", "right"});

  std::shared_ptr<const Dataset> joined(const std::vector<std::string>& names) const {
    std::vector<DataFolder> sources;
    for (const std::string& name : names) sources.push_back(DataFolder::open((folder / name).string()));
    return std::make_shared<const Dataset>(std::move(sources));
  }
};

const MixedFolders& mixed() {
  static const MixedFolders all;
  return all;
}

LoaderOptions mixed_options() {
  LoaderOptions options = training_options();
  options.weights = {3, 1};
  return options;
}

TEST(MixedData, NumbersTheSamplesOfAllSourcesThrough) {
  const Dataset& both = *mixed().both;
  ASSERT_EQ(both.size(), 45u);
  EXPECT_EQ(both.num_shards(), 6u);
  EXPECT_EQ(both.num_captions(), 45u);
  SampleBuffer buffer;
  for (uint64_t i = 0; i < both.size(); ++i) {
    const std::string set = i < 31 ? "left" : "right";
    const uint64_t k = i < 31 ? i : i - 31;
    EXPECT_EQ(both.id(i), 1000 + k);
    both.read(i, buffer);
    EXPECT_EQ(buffer.caption(0), set + " number " + std::to_string(k));
    const SampleRecord record = both.record(i);
    EXPECT_EQ(record.shard, i < 31 ? k / 10 : 4 + k / 10);
    EXPECT_EQ(both.shard_name(record.shard), shard_file_name(k / 10));
    EXPECT_EQ(both.first_sample(record.shard) + k % 10, i);
    EXPECT_EQ(both.sample_name(i), fmt::format("{}: {} sample {} (id {})", (mixed().folder / set).string(),
                                               shard_file_name(k / 10), k % 10, 1000 + k));
  }
  EXPECT_EQ(count_samples_with(both, {.images = true}), both.num_images());
  EXPECT_EQ(both.num_images(), mixed().left->num_images() + mixed().right->num_images());
  EXPECT_EQ(both.data_set_id(), "small + small");
}

TEST(MixedData, ContentHashIsOfTheSourcesInTheirOrder) {
  const Hash128 hash = mixed().both->content_hash();
  EXPECT_EQ(mixed().joined({"left", "right"})->content_hash(), hash);
  EXPECT_FALSE(mixed().joined({"right", "left"})->content_hash() == hash);
  EXPECT_EQ(mixed().joined({"left"})->content_hash(), mixed().left->content_hash());
}

TEST(MixedData, IsTheSameOnAnyMeshAndWhereverALoaderStarts) {
  const std::vector<Batch> whole = take(mixed().both, mixed_options(), 9);
  for (const int dp : {2, 3}) {
    for (int rank = 0; rank < dp; ++rank) {
      LoaderOptions options = mixed_options();
      options.dp_size = dp;
      options.dp_rank = rank;
      options.start_step = 4;
      options.threads = 1 + rank;
      const std::vector<Batch> part = take(mixed().both, options, 5);
      for (std::size_t i = 0; i < part.size(); ++i) {
        for (int64_t r = 0; r < 12 / dp; ++r) {
          const int64_t row = rank * (12 / dp) + r;
          EXPECT_EQ(part[i].sample_ids[static_cast<std::size_t>(r)],
                    whole[i + 4].sample_ids[static_cast<std::size_t>(row)]);
          EXPECT_TRUE(std::ranges::equal(part[i].row<uint8_t>("pixels", r), whole[i + 4].row<uint8_t>("pixels", row)));
          EXPECT_TRUE(std::ranges::equal(part[i].row<int32_t>("tokens", r), whole[i + 4].row<int32_t>("tokens", row)));
        }
      }
    }
  }
}

TEST(MixedData, EachSourceHasItsShareAndItsEpochs) {
  std::map<uint64_t, int> seen;
  int left = 0, total = 0;
  for (const Batch& batch : take(mixed().both, mixed_options(), 31)) {
    EXPECT_EQ(std::set<uint64_t>(batch.sample_ids.begin(), batch.sample_ids.end()).size(), 12u);
    for (const uint64_t sample : batch.sample_ids) {
      ++seen[sample];
      left += sample < 31;
      ++total;
    }
  }
  EXPECT_EQ(total, 372);
  EXPECT_EQ(left, 279);  // 9 epochs of 31
  for (uint64_t i = 0; i < 31; ++i) EXPECT_EQ(seen[i], 9) << i;
  for (uint64_t i = 31; i < 45; ++i) EXPECT_NEAR(seen[i], 93.0 / 14, 1) << i;
}

TEST(MixedData, ABadSampleIsReplacedByOneOfItsSource) {
  const ScratchFolder folder;
  make_data_set(folder / "bad", 40, [](uint64_t i) {
    SmallSample s = named_sample("bad", i);
    if (i % 8 == 3) s.image = broken_image();
    return s;
  });
  std::vector<DataFolder> sources;
  sources.push_back(DataFolder::open((folder / "bad").string()));
  sources.push_back(DataFolder::open((mixed().folder / "right").string()));
  const auto data = std::make_shared<const Dataset>(std::move(sources));
  LoaderOptions options = mixed_options();
  options.weights = {1, 1};
  const SampleOrder order(options.seed, {{.num_samples = 40}, {.num_samples = 14}}, 12);
  int replaced = 0;
  for (const Batch& batch : take(data, options, 12)) {
    EXPECT_EQ(std::set<uint64_t>(batch.sample_ids.begin(), batch.sample_ids.end()).size(), 12u);
    for (std::size_t r = 0; r < 12; ++r) {
      const uint64_t asked = order.sample_at(static_cast<uint64_t>(batch.step) * 12 + r);
      EXPECT_EQ(asked < 40, batch.sample_ids[r] < 40);
      EXPECT_EQ(batch.sample_ids[r] == asked, batch.attempts[r] == 0);
      replaced += batch.attempts[r] != 0;
    }
  }
  EXPECT_GT(replaced, 3);
}

TEST(MixedData, ASourceMustHaveTheRowsOfABatch) {
  LoaderOptions options = mixed_options();
  options.global_batch = 60;
  options.weights = {1, 1};
  expect_error(ErrorKind::kUser, "50 % of 60 rows are 30, found 14 samples in", [&] { Loader(mixed().both, options); });
}

TEST(MixedData, WindowsOfShardsReadOnlyThoseOfTheWindow) {
  LoaderOptions options = training_options();
  options.global_batch = 5;
  options.shuffle_shards = 1;
  const std::vector<Batch> batches = take(mixed().left, options, 12);
  std::vector<uint64_t> seen;
  for (const Batch& batch : batches) seen.insert(seen.end(), batch.sample_ids.begin(), batch.sample_ids.end());
  EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.begin() + 31).size(), 31u);
  int changes = 0;
  for (std::size_t p = 1; p < 31; ++p) changes += seen[p] / 10 != seen[p - 1] / 10;
  EXPECT_EQ(changes, 3) << "four shards one after the other";
  options.start_step = 7;
  const std::vector<Batch> resumed = take(mixed().left, options, 5);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(resumed[i].sample_ids, batches[i + 7].sample_ids);
}

class Sources : public ::testing::Test {
 protected:
  void make(const std::string& name, bool has_label, const std::string& classes) {
    make_data_set(folder_ / name, 4, [&](uint64_t i) {
      SmallSample s{.captions = {name + std::to_string(i)}};
      if (has_label) s.label = static_cast<int64_t>(i % 2);
      return s;
    });
    if (!classes.empty()) write_text(folder_ / name / kClassNamesFile, classes);
  }
  void join(const std::vector<std::string>& names) {
    std::vector<DataFolder> sources;
    for (const std::string& name : names) sources.push_back(DataFolder::open((folder_ / name).string()));
    const Dataset data(std::move(sources));
    EXPECT_EQ(data.num_sources(), names.size());
  }
  ScratchFolder folder_;
};

TEST_F(Sources, LabelsMustMeanTheSame) {
  make("a", true, "cat\ndog\n");
  make("b", true, "cat\ndog\n");
  make("other", true, "cat\nwolf\n");
  make("longer", true, "cat\ndog\ncow\n");
  make("none", true, "");
  make("unlabelled", false, "");
  join({"a", "b", "unlabelled"});
  join({"none", "unlabelled"});
  expect_error(ErrorKind::kUser, "class 1 is \"dog\" there and \"wolf\" here", [&] { join({"a", "other"}); });
  expect_error(ErrorKind::kUser, "there are 2 names there and 3 here", [&] { join({"unlabelled", "a", "longer"}); });
  expect_error(ErrorKind::kUser, "there are 2 names there and 0 here", [&] { join({"a", "none"}); });
}

TEST_F(Sources, TheSameSamplesTwiceAreRefused) {
  make("a", false, "");
  make("b", false, "");
  fs::copy(folder_ / "a", folder_ / "copy");
  expect_error(ErrorKind::kUser, "has the same samples as", [&] { join({"a", "b", "copy"}); });
}

// What one process checked, another takes over for the very same files and no others.
TEST_F(Sources, WhatAnotherProcessCheckedIsTakenOverForTheSameFilesAlone) {
  make("a", true, "");
  const DataFolder first = DataFolder::open((folder_ / "a").string());
  const CheckedIndex told = CheckedIndex::from_text(first.checked().to_text());
  EXPECT_EQ(told.facts, first.facts());
  EXPECT_EQ(told.facts.greatest_label, 1);
  EXPECT_TRUE(MappedIndex::open(folder_ / "a", &told).trusts_another());
  fs::copy(folder_ / "a", folder_ / "copy");
  EXPECT_FALSE(MappedIndex::open(folder_ / "copy", &told).trusts_another());
  // Damage in a copy is found although somebody has checked the original.
  const uint64_t size = fs::file_size(folder_ / "copy/index.bin");
  poke(folder_ / "copy/index.bin", size - 1, '\x7f');
  expect_error(ErrorKind::kWorld, "does not have the hash",
               [&] { DataFolder::open((folder_ / "copy").string(), {.checked = &told}); });
  build_index(folder_ / "a");
  EXPECT_FALSE(MappedIndex::open(folder_ / "a", &told).trusts_another()) << "it was written since";
}

// The file is mapped, so what is written into it is seen: it makes samples errors, and leads no read elsewhere.
TEST_F(Sources, ARecordThatIsWrittenIntoWhileOpenIsAnError) {
  make("a", false, "");
  const DataFolder folder = DataFolder::open((folder_ / "a").string());
  SampleBuffer buffer;
  folder.read(2, buffer);
  const auto damage = [&](uint64_t offset, std::string_view part) {
    const uint64_t at = 64 + 2 * sizeof(IndexRecord) + offset;
    const std::string before = file_text(folder_ / "a/index.bin");
    poke(folder_ / "a/index.bin", at + 3, '\x7f');
    expect_error(ErrorKind::kWorld, part, [&] { folder.read(2, buffer); });
    poke(folder_ / "a/index.bin", at + 3, before[at + 3]);
    folder.read(2, buffer);
  };
  damage(offsetof(IndexRecord, image_bytes), "is not what it was when the data set was opened");
  damage(offsetof(IndexRecord, first_caption), "is not what it was when the data set was opened");
  damage(offsetof(IndexRecord, num_captions), "is not what it was when the data set was opened");
  damage(offsetof(IndexRecord, captions_offset), "cannot be read");
}

TEST(IndexFacts, AreThoseOfALoopOverAllRecords) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "a", 37, [](uint64_t i) {
    SmallSample s;
    if (i % 3 != 0) s.image = sound_image(i);
    if (i % 4 != 1 || i % 3 == 0) s.captions = {"a", "b"};
    if (i % 5 == 0) s.roles = std::vector<TextRole>(s.captions.size(), TextRole::kQuestion);
    if (i % 7 < 4) s.label = static_cast<int64_t>(i);
    if (!s.image.empty() && i % 2 == 0) s.boxes.assign(1 + i % 3, {0, 0, 1, 1, 0, -1});
    return s;
  });
  const IndexFacts& facts = data->facts();
  std::map<std::size_t, uint64_t> having;
  uint64_t questions = 0, captions = 0, boxes = 0, most = 0;
  int64_t greatest = -1;
  for (uint64_t i = 0; i < data->size(); ++i) {
    const SampleRecord record = data->record(i);
    ++having[number_of(parts_of(record))];
    questions += record.num_texts(TextRole::kQuestion);
    captions += record.num_texts(TextRole::kCaption);
    boxes += record.boxes.size();
    most = std::max<uint64_t>(most, record.boxes.size());
    greatest = std::max(greatest, record.label.value_or(-1));
  }
  for (std::size_t k = 0; k < kNumPartChoices; ++k) EXPECT_EQ(facts.samples_having[k], having[k]) << k;
  EXPECT_EQ(data->num_texts(TextRole::kQuestion), questions);
  EXPECT_EQ(data->num_texts(TextRole::kCaption), captions);
  EXPECT_EQ(data->num_boxes(), boxes);
  EXPECT_EQ(most_boxes(*data), most);
  EXPECT_EQ(facts.greatest_label, greatest);
  for (const PartChoice& asked : {PartChoice{}, PartChoice{.images = true}, PartChoice{.boxes = true, .labels = true},
                                  PartChoice{.images = true, .questions = true}}) {
    uint64_t count = 0;
    for (uint64_t i = 0; i < data->size(); ++i) {
      count += (number_of(parts_of(data->record(i))) & number_of(asked)) == number_of(asked);
    }
    EXPECT_EQ(count_samples_with(*data, asked), count);
  }
}

}  // namespace
}  // namespace triptych::test
