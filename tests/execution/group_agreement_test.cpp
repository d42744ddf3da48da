#include "execution/group_agreement.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/loader_support.h"
#include "parallel/agreement.h"
#include "parallel/in_process_group.h"

namespace triptych::test {
namespace {

const std::set<uint64_t> kDamaged{2, 7, 20, 33, 40};

// A data set, and a copy of it in which the captions of some samples are not what was indexed: what a rank meets whose
// disk has gone bad.
struct Copies {
  Copies() {
    sound = make_data_set(folder / "sound", kSize, [](uint64_t i) {
      return SmallSample{
          .image = sound_image(i), .captions = {"number " + std::to_string(i)}, .label = static_cast<int64_t>(i % 5)};
    });
    std::filesystem::copy(folder / "sound", folder / "damaged");
    for (const uint64_t sample : kDamaged) {
      const SampleRecord record = sound->record(sample);
      std::fstream file(folder / "damaged" / std::string(sound->shard_name(record.shard)),
                        std::ios::in | std::ios::out | std::ios::binary);
      file.seekp(static_cast<std::streamoff>(record.captions_offset));
      file.put('X');
    }
    damaged = std::make_shared<const Dataset>(Dataset::open(folder / "damaged"));
  }
  ScratchFolder folder;
  std::shared_ptr<const Dataset> sound, damaged;
};

const Copies& copies() {
  static const Copies all;
  return all;
}

// dp replicas of two ranks each: one sees the pictures and one the texts, as two stages do.
LoaderOptions options_of(Group& world, RowAgreement* agreement) {
  LoaderOptions options = training_options();
  options.fields.clear();
  options.fields.push_back(world.rank() % 2 == 0 ? pixels_of_folders() : text_of_folders());
  options.check_unused_images = false;
  options.dp_size = world.size() / 2;
  options.dp_rank = world.rank() / 2;
  options.agreement = agreement;
  return options;
}

class Agreement : public ::testing::TestWithParam<int> {};

TEST_P(Agreement, OneRanksFaultIsReplacedByAllAsIfTheSampleWereBadForAll) {
  const int dp = GetParam();
  LoaderOptions alone = training_options();
  for (const int64_t start : {0, 5}) {  // from the beginning, and after a resumption
    alone.start_step = start;
    const std::vector<Batch> expected = take(copies().damaged, alone, 9);
    std::vector<std::vector<BadSample>> told(static_cast<std::size_t>(2 * dp));
    run_ranks(2 * dp, [&](Group& world) {
      const std::unique_ptr<RowAgreement> agreement = make_row_agreement(world);
      LoaderOptions options = options_of(world, agreement.get());
      options.start_step = start;
      auto& mine = told[static_cast<std::size_t>(world.rank())];
      options.on_bad_sample = [&](const BadSample& bad) { mine.push_back(bad); };
      // In each replica one rank meets the faults: the one of the pictures or the one of the texts.
      const bool meets = world.rank() % 2 == (world.rank() / 2 + 1) % 2;
      Loader loader(meets ? copies().damaged : copies().sound, options);
      for (const Batch& whole : expected) {
        const Batch batch = loader.next();
        for (std::size_t r = 0; r < batch.sample_ids.size(); ++r) {
          const auto row = static_cast<std::size_t>(batch.first_index) + r;
          ASSERT_EQ(batch.sample_ids[r], whole.sample_ids[row]) << "step " << batch.step << " row " << row;
          EXPECT_EQ(batch.attempts[r], whole.attempts[row]);
          for (const FieldSpec& field : batch.fields()) {
            const std::span<const std::byte> is = batch.bytes(field.name), should = whole.bytes(field.name);
            const auto size = static_cast<std::size_t>(field.row_bytes());
            EXPECT_TRUE(std::ranges::equal(is.subspan(r * size, size), should.subspan(row * size, size))) << field.name;
          }
        }
        loader.recycle(Batch(batch));
      }
    });
    std::set<uint64_t> samples;
    for (const BadSample& bad : told[0]) {
      EXPECT_TRUE(samples.insert(bad.sample).second) << "told twice";
      EXPECT_NE(bad.reason.find("checksum"), std::string::npos) << bad.reason;
      // Those that meet faults: 1, 2 and 5.
      const std::size_t at = bad.reason.find(", rank ");
      ASSERT_NE(at, std::string::npos) << bad.reason;
      EXPECT_NE(std::string("125").find(bad.reason[at + 7]), std::string::npos) << bad.reason;
    }
    EXPECT_EQ(samples, kDamaged);
    for (const auto& of_rank : told) {
      EXPECT_TRUE(std::ranges::equal(of_rank, told[0], {}, &BadSample::reason, &BadSample::reason));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Replicas, Agreement, ::testing::Values(1, 2, 3));

TEST(GroupAgreement, AnEvaluationLeavesOutOnAllRanksWhatOneCannotUse) {
  run_ranks(2, [](Group& world) {
    const std::unique_ptr<RowAgreement> agreement = make_row_agreement(world);
    LoaderOptions options = training_options();
    options.training = false;
    options.max_bad_fraction = 1;
    options.agreement = agreement.get();
    Loader loader(world.rank() == 1 ? copies().damaged : copies().sound, options);
    for (int64_t step = 0; step < loader.num_steps(); ++step) {
      const Batch batch = loader.next();
      const std::span<const uint8_t> present = batch.values<uint8_t>("image_present");
      for (std::size_t r = 0; r < present.size(); ++r) {
        if (batch.sample_ids[r] == kNoSample) continue;
        EXPECT_EQ(present[r] == 0, kDamaged.contains(batch.sample_ids[r])) << batch.sample_ids[r];
      }
    }
    EXPECT_EQ(loader.stats().num_bad, kDamaged.size());
  });
}

TEST(GroupAgreement, AllRanksEndAlike) {
  const auto texts_of = [](const std::function<void(LoaderOptions&, int)>& change) {
    std::vector<std::string> texts(4);
    run_ranks(4, [&](Group& world) {
      const std::unique_ptr<RowAgreement> agreement = make_row_agreement(world);
      LoaderOptions options = options_of(world, agreement.get());
      change(options, world.rank());
      Loader loader(world.rank() == 3 ? copies().damaged : copies().sound, options);
      try {
        for (int step = 0; step < 12; ++step) loader.next();
      } catch (const AgreedError& error) {
        texts[static_cast<std::size_t>(world.rank())] = error.what();
      }
    });
    return texts;
  };
  // More than two of the samples that rank 3 alone cannot read are more than 2 % of a hundred.
  const std::vector<std::string> too_many = texts_of([](LoaderOptions& o, int) { o.max_bad_fraction = 0.02; });
  EXPECT_NE(too_many[0].find("at most 2 % of the samples may be bad; "), std::string::npos) << too_many[0];
  EXPECT_NE(too_many[0].find("rank 3/4"), std::string::npos) << too_many[0];
  EXPECT_EQ(std::set<std::string>(too_many.begin(), too_many.end()).size(), 1u);
  // An error that only one rank's field can see.
  const std::vector<std::string> label = texts_of([](LoaderOptions& o, int rank) {
    if (rank == 2) o.fields.push_back(label_field(4));
  });
  EXPECT_NE(label[0].find("a label must be below the number of classes"), std::string::npos) << label[0];
  EXPECT_EQ(std::set<std::string>(label.begin(), label.end()).size(), 1u);
}

TEST(GroupAgreement, OneRankNeedsNone) {
  EXPECT_EQ(make_row_agreement(*make_self_group("alone")), nullptr);
}

}  // namespace
}  // namespace triptych::test
