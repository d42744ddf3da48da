#include "data/loader.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/sample_order.h"
#include "loader_support.h"

namespace triptych::test {
namespace {

void expect_equal(const Batch& a, const Batch& b) {
  EXPECT_EQ(a.step, b.step);
  EXPECT_EQ(a.first_index, b.first_index);
  EXPECT_EQ(a.sample_ids, b.sample_ids);
  ASSERT_TRUE(std::ranges::equal(a.fields(), b.fields()));
  for (std::size_t i = 0; i < a.arrays.size(); ++i) {
    EXPECT_TRUE(a.arrays[i] == b.arrays[i]) << a.fields()[i].name << " of step " << a.step;
  }
}

template <typename T>
void append(std::vector<T>& to, const std::vector<T>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

TEST(Loader, GivesTheSameBatchesWhateverTheThreadsAndThePrefetch) {
  for (const auto& data : {folders().sound, folders().damaged}) {
    LoaderOptions options = training_options();
    options.threads = 1;
    const std::vector<Batch> expected = take(data, options, 9);  // into the third epoch
    for (const auto& [threads, prefetch] : {std::pair{4, 3}, {1, 1}, {4, 1}, {3, 20}}) {
      options.threads = threads;
      options.prefetch = prefetch;
      const std::vector<Batch> batches = take(data, options, 9);
      for (std::size_t i = 0; i < 9; ++i) expect_equal(batches[i], expected[i]);
    }
  }
}

TEST(Loader, RanksSeeSlicesOfOneGlobalBatch) {
  for (const auto& data : {folders().sound, folders().damaged}) {
    LoaderOptions options = training_options();
    const std::vector<Batch> expected = take(data, options, 6);
    for (const int dp : {2, 4}) {
      options.dp_size = dp;
      std::vector<Batch> joined(6);
      for (options.dp_rank = 0; options.dp_rank < dp; ++options.dp_rank) {
        const std::vector<Batch> slice = take(data, options, 6);
        for (std::size_t i = 0; i < 6; ++i) {
          EXPECT_EQ(slice[i].first_index, options.dp_rank * 12 / dp);
          joined[i].step = slice[i].step;
          append(joined[i].sample_ids, slice[i].sample_ids);
          joined[i].arrays.resize(slice[i].arrays.size());
          for (std::size_t f = 0; f < slice[i].arrays.size(); ++f) append(joined[i].arrays[f], slice[i].arrays[f]);
        }
      }
      for (std::size_t i = 0; i < 6; ++i) {
        EXPECT_EQ(joined[i].step, expected[i].step);
        EXPECT_EQ(joined[i].sample_ids, expected[i].sample_ids);
        EXPECT_TRUE(joined[i].arrays == expected[i].arrays) << "step " << i;
      }
    }
  }
}

TEST(Loader, ResumesAtAnyStep) {
  LoaderOptions options = training_options();
  const std::vector<Batch> expected = take(folders().damaged, options, 8);
  options.start_step = 5;
  const std::vector<Batch> resumed = take(folders().damaged, options, 3);
  for (std::size_t i = 0; i < 3; ++i) expect_equal(resumed[i], expected[i + 5]);
}

TEST(Loader, SeesEachSampleOnceAnEpochInTheOrderOfTheSeed) {
  const std::vector<Batch> batches = take(folders().sound, training_options(), 8);
  std::vector<uint64_t> seen;
  for (const Batch& batch : batches) append(seen, batch.sample_ids);
  const SampleOrder order(5, kSize, 12);
  for (std::size_t p = 0; p < seen.size(); ++p) EXPECT_EQ(seen[p], order.sample_at(p));
  for (const std::size_t epoch : {0u, 1u}) {
    const auto begin = seen.begin() + static_cast<std::ptrdiff_t>(epoch * kSize);
    EXPECT_EQ(std::set<uint64_t>(begin, begin + kSize).size(), kSize);
  }
  LoaderOptions other = training_options();
  other.seed = 6;
  EXPECT_NE(take(folders().sound, other, 1)[0].sample_ids, batches[0].sample_ids);
}

TEST(Loader, MarksWhatASampleLacks) {
  const LoaderOptions options = training_options();
  std::set<std::size_t> choices;
  for (const Batch& batch : take(folders().sound, options, 12)) {
    for (int64_t row = 0; row < 12; ++row) {
      const uint64_t sample = batch.sample_ids[static_cast<std::size_t>(row)];
      EXPECT_EQ(batch.row<uint8_t>("image_present", row)[0], sample % 9 != 4);
      EXPECT_EQ(batch.row<uint8_t>("text_present", row)[0], sample % 9 != 5);
      const auto pixels = batch.row<uint8_t>("pixels", row);
      ASSERT_EQ(pixels.size(), 24u * 24 * 3);
      EXPECT_EQ(std::ranges::all_of(pixels, [](uint8_t v) { return v == 0; }), sample % 9 == 4);
      const auto tokens = batch.row<int32_t>("tokens", row);
      ASSERT_EQ(tokens.size(), 16u);
      const int32_t length = batch.row<int32_t>("lengths", row)[0];
      if (sample % 9 == 5) {
        EXPECT_EQ(length, 2);
        EXPECT_EQ(tokens[1], kOwnEndId);
        continue;
      }
      // One of the sample's captions, and over the epochs each of them.
      std::size_t choice = 0;
      for (const std::string& caption : mixed_sample(sample).captions) {
        std::vector<int32_t> expected(16);
        if (folders().tokenizer->encode(caption, expected) == length && std::ranges::equal(expected, tokens)) break;
        ++choice;
      }
      EXPECT_LT(choice, 3u);
      choices.insert(choice);
    }
  }
  EXPECT_EQ(choices.size(), 3u);
}

TEST(Loader, EvaluatesEverySampleOnceInOrder) {
  LoaderOptions options = training_options();
  options.training = false;
  for (const int dp : {1, 2}) {
    options.dp_size = dp;
    std::vector<uint64_t> seen;
    for (options.dp_rank = 0; options.dp_rank < dp; ++options.dp_rank) {
      Loader loader(folders().sound, options);
      ASSERT_EQ(loader.num_steps(), 4);
      for (int64_t step = 0; step < 4; ++step) {
        const Batch batch = loader.next();
        const auto rows = static_cast<std::size_t>(12 / dp);
        ASSERT_EQ(batch.sample_ids.size(), rows);
        for (std::size_t r = 0; r < rows; ++r) {
          const uint64_t position = static_cast<uint64_t>(step * 12 + batch.first_index) + r;
          EXPECT_EQ(batch.sample_ids[r], position < kSize ? position : kNoSample);
          if (position >= kSize) {
            EXPECT_FALSE(batch.values<uint8_t>("image_present")[r] || batch.values<uint8_t>("text_present")[r]);
            EXPECT_EQ(batch.values<int32_t>("lengths")[r], 2);
            continue;
          }
          seen.push_back(position);
          std::vector<uint8_t> expected(24 * 24 * 3, 0);
          const SmallSample s = mixed_sample(position);
          if (!s.image.empty()) {
            const Image image = decode_image(s.image);
            if (std::min(image.width, image.height) >= 48) continue;  // decoded at half size by the loader
            Resizer().resize(image, center_square(image.width, image.height), 24, expected);
          }
          const auto row = static_cast<int64_t>(r);
          EXPECT_TRUE(std::ranges::equal(expected, batch.row<uint8_t>("pixels", row))) << position;
          if (s.captions.empty()) continue;
          std::vector<int32_t> tokens(16);
          folders().tokenizer->encode(s.captions[0], tokens);
          EXPECT_TRUE(std::ranges::equal(tokens, batch.row<int32_t>("tokens", row)));
        }
      }
      EXPECT_THROW(loader.next(), InternalError);
    }
    EXPECT_EQ(std::set<uint64_t>(seen.begin(), seen.end()).size(), kSize);
  }
}

TEST(Loader, ReplacesBadSamplesAndNamesThemOnce) {
  LoaderOptions options = training_options();
  std::vector<std::string> named;
  options.on_bad_sample = [&](const BadSample& bad) { named.push_back(bad.name); };
  Loader loader(folders().damaged, options);
  const std::vector<Batch> sound = take(folders().sound, training_options(), 12);
  uint64_t replaced = 0;
  for (std::size_t step = 0; step < 12; ++step) {
    const Batch batch = loader.next();
    for (std::size_t r = 0; r < 12; ++r) {
      EXPECT_FALSE(kBroken.contains(batch.sample_ids[r]));
      if (kBroken.contains(sound[step].sample_ids[r])) {
        ++replaced;
      } else {
        EXPECT_EQ(batch.sample_ids[r], sound[step].sample_ids[r]) << "the others keep their places";
      }
    }
    loader.recycle(Batch(batch));
  }
  const LoaderStats stats = loader.stats();
  EXPECT_GE(replaced, 9u);  // three epochs
  EXPECT_GE(stats.num_bad, replaced);
  EXPECT_EQ(stats.num_samples, 144 + stats.num_bad);
  EXPECT_EQ(named.size(), kBroken.size());
  ASSERT_EQ(stats.bad.size(), kBroken.size());
  std::set<uint64_t> samples;
  for (const BadSample& bad : stats.bad) {
    samples.insert(bad.sample);
    EXPECT_EQ(bad.name, folders().damaged->sample_name(bad.sample));
    EXPECT_NE(bad.reason.find("PNG"), std::string::npos) << bad.reason;
  }
  EXPECT_EQ(samples, kBroken);
}

TEST(Loader, RanksWithSomeFieldsReplaceTheSameSamples) {
  LoaderOptions options = training_options();
  const std::vector<Batch> all = take(folders().damaged, options, 8);
  options.fields = {text_of_folders()};
  const std::vector<Batch> text = take(folders().damaged, options, 8);
  options.fields = {pixels_of_folders()};
  const std::vector<Batch> images = take(folders().damaged, options, 8);
  options.fields = {};  // a stage in the middle of a tower
  const std::vector<Batch> none = take(folders().damaged, options, 8);
  const auto same = [](const Batch& a, const Batch& b, const char* field) {
    return std::ranges::equal(a.bytes(field), b.bytes(field));
  };
  for (std::size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(text[i].sample_ids, all[i].sample_ids);
    EXPECT_TRUE(same(text[i], all[i], "tokens") && same(text[i], all[i], "lengths"));
    EXPECT_FALSE(text[i].contains("pixels"));
    EXPECT_THROW(text[i].bytes("pixels"), InternalError);
    EXPECT_EQ(images[i].sample_ids, all[i].sample_ids);
    EXPECT_TRUE(same(images[i], all[i], "pixels"));
    EXPECT_FALSE(images[i].contains("tokens") || images[i].contains("lengths"));
    EXPECT_EQ(none[i].sample_ids, all[i].sample_ids);
    EXPECT_TRUE(none[i].arrays.empty());
  }
  // Without the check nobody looks at the images, so broken ones do no harm.
  options.fields = {text_of_folders(), presence_fields()};
  options.check_unused_images = false;
  const std::vector<Batch> unchecked = take(folders().damaged, options, 4);
  const std::vector<Batch> sound = take(folders().sound, training_options(), 4);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(unchecked[i].sample_ids, sound[i].sample_ids);
    EXPECT_TRUE(same(unchecked[i], sound[i], "tokens") && same(unchecked[i], sound[i], "image_present"));
  }
}

TEST(Loader, KeepsTheRowOfABadSampleInEvaluation) {
  LoaderOptions options = training_options();
  options.training = false;
  Loader loader(folders().damaged, options);
  for (int64_t step = 0; step < loader.num_steps(); ++step) {
    const Batch batch = loader.next();
    for (std::size_t r = 0; r < 12; ++r) {
      if (!kBroken.contains(batch.sample_ids[r])) continue;
      EXPECT_EQ(batch.sample_ids[r], static_cast<uint64_t>(step) * 12 + r);
      EXPECT_FALSE(batch.values<uint8_t>("image_present")[r] || batch.values<uint8_t>("text_present")[r]);
      EXPECT_EQ(batch.values<int32_t>("lengths")[r], 2);
      EXPECT_TRUE(
          std::ranges::all_of(batch.row<uint8_t>("pixels", static_cast<int64_t>(r)), [](uint8_t v) { return v == 0; }));
    }
  }
  EXPECT_EQ(loader.stats().num_bad, 3u);
  EXPECT_EQ(loader.stats().num_samples, kSize);
}

TEST(Loader, StopsWhenTooManySamplesAreBad) {
  LoaderOptions options = training_options();
  options.max_bad_fraction = 0.02;  // two of the first hundred
  int64_t first_failure = -1;
  for (const int threads : {1, 4}) {
    options.threads = threads;
    Loader loader(folders().damaged, options);
    int64_t step = 0;
    try {
      for (; step < 10; ++step) loader.next();
      FAIL() << "no error";
    } catch (const WorldError& error) {
      const std::string text = error.what();
      EXPECT_NE(text.find("at most 2 %"), std::string::npos) << text;
      EXPECT_NE(text.find("3 of "), std::string::npos) << text;
      EXPECT_NE(text.find(loader.stats().bad[0].name), std::string::npos) << text;
    }
    EXPECT_THROW(loader.next(), WorldError) << "it is at its end";
    if (first_failure < 0) first_failure = step;
    EXPECT_EQ(step, first_failure) << "at the same step whatever the threads";
  }
}

TEST(Loader, StopsWhenNoReplacementIsSound) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "hopeless", 12, [](uint64_t) {
    return SmallSample{test::broken_image(), {}};
  });
  LoaderOptions options = training_options();
  options.max_bad_fraction = 1;
  Loader loader(data, options);
  EXPECT_THROW(loader.next(), WorldError);
}

TEST(Loader, FindsBytesThatChangedOnDisk) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "altered", 30, [](uint64_t i) {
    return SmallSample{test::sound_image(i), {"caption " + std::to_string(i)}};
  });
  const SampleRecord record = data->record(17);
  {
    std::fstream file(folder / "altered" / std::string(data->shard_name(record.shard)),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(record.captions_offset));
    file.put('X');
  }
  LoaderOptions options = training_options();
  options.training = false;
  options.fields = {text_of_folders()};
  Loader loader(data, options);
  for (int64_t step = 0; step < loader.num_steps(); ++step) loader.next();
  ASSERT_EQ(loader.stats().bad.size(), 1u);
  EXPECT_EQ(loader.stats().bad[0].sample, 17u);
  EXPECT_EQ(loader.stats().bad[0].name, data->sample_name(17));
}

TEST(Loader, ReplacesASampleThatChangesAfterItWasUsed) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "changing", 24, [](uint64_t i) {
    return SmallSample{test::sound_image(i), {"caption " + std::to_string(i)}};
  });
  LoaderOptions options = training_options();
  options.max_bad_fraction = 1;
  options.prefetch = 1;
  Loader loader(data, options);
  for (int step = 0; step < 2; ++step) loader.next();  // one epoch
  {
    const SampleRecord record = data->record(7);
    std::fstream file(folder / "changing" / std::string(data->shard_name(record.shard)),
                      std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(static_cast<std::streamoff>(record.captions_offset));
    file.put('X');
  }
  loader.next();  // may have been read before
  for (int step = 0; step < 5; ++step) {
    for (const uint64_t sample : loader.next().sample_ids) EXPECT_NE(sample, 7u);
  }
  ASSERT_EQ(loader.stats().bad.size(), 1u);
  EXPECT_EQ(loader.stats().bad[0].sample, 7u);
}

TEST(Loader, ReplacesWithoutASampleTwiceInABatch) {
  const ScratchFolder folder;
  for (const uint64_t n : {24u, 36u, 60u, 200u}) {  // from two batches on
    const auto data = make_data_set(folder / std::to_string(n), n, [](uint64_t i) {
      return SmallSample{i % 4 == 1 ? test::broken_image() : test::sound_image(0), {"caption"}};
    });
    LoaderOptions options = training_options();
    options.max_bad_fraction = 1;
    int num_twice = 0, num_replaced = 0;
    for (const Batch& batch : take(data, options, 40)) {
      const std::set<uint64_t> distinct(batch.sample_ids.begin(), batch.sample_ids.end());
      num_twice += distinct.size() != batch.sample_ids.size();
      num_replaced += static_cast<int>(std::ranges::count_if(batch.attempts, [](int32_t k) { return k > 0; }));
    }
    EXPECT_GT(num_replaced, 40) << n;
    if (n >= 60) {
      EXPECT_EQ(num_twice, 0) << n;
    }
  }
}

TEST(Loader, TriesAReadAgainThatFails) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "flaky", 12, [](uint64_t i) {
    return SmallSample{test::sound_image(i), {"caption " + std::to_string(i)}};
  });
  const std::filesystem::path shard = folder / "flaky" / std::string(data->shard_name(0));
  const std::filesystem::path aside = folder / "aside";
  SampleBuffer expected, buffer;
  data->read(3, expected);
  // Cut while it is open; whole again a little later. A machine that is busy may sleep too long.
  bool is_read = false;
  for (int trial = 0; trial < 5 && !is_read; ++trial) {
    std::filesystem::copy_file(shard, aside);
    std::filesystem::resize_file(shard, 10);
    std::thread mender([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(40));
      std::filesystem::rename(aside, shard);
    });
    try {
      data->read(3, buffer);
      is_read = true;
    } catch (const WorldError&) {
    }
    mender.join();
    if (!is_read) data->read(0, buffer);  // the shard is back: the next failure is tried again
  }
  ASSERT_TRUE(is_read);
  EXPECT_TRUE(buffer.image == expected.image);
  std::filesystem::resize_file(shard, 10);
  try {
    data->read(3, buffer);
    FAIL() << "no error";
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("in 4 attempts"), std::string::npos) << error.what();
  }
  try {  // a shard that is gone does not make every sample wait
    data->read(4, buffer);
    FAIL() << "no error";
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("in 1 attempt:"), std::string::npos) << error.what();
  }
}

TEST(Loader, CountsMoreBadSamplesThanItKeeps) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "bad", 130, [](uint64_t) {
    return SmallSample{test::broken_image(), {"caption"}};
  });
  LoaderOptions options = training_options();
  options.training = false;
  options.max_bad_fraction = 1;
  Loader loader(data, options);
  for (int64_t step = 0; step < loader.num_steps(); ++step) loader.next();
  EXPECT_EQ(loader.stats().num_bad_samples, 130u);
  EXPECT_EQ(loader.stats().bad.size(), 100u);
}

TEST(Loader, RefusesImpossibleOptions) {
  const auto expect_refused = [](const char* words, const auto& change) {
    LoaderOptions options = training_options();
    change(options);
    try {
      Loader loader(folders().sound, options);
      FAIL() << words;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(words), std::string::npos) << error.what();
    }
  };
  expect_refused("48 rows, found 47 samples", [](LoaderOptions& o) { o.global_batch = 48; });
  expect_refused("12 over 5", [](LoaderOptions& o) { o.dp_size = 5; });
  expect_refused("dp rank", [](LoaderOptions& o) { o.dp_rank = 1; });
  expect_refused("dp must be positive", [](LoaderOptions& o) { o.dp_size = 0; });
  expect_refused("pixels 201326592, tokens", [](LoaderOptions& o) {
    o.fields[0] = pixels_field(8192);
    o.global_batch = 45;
  });
  expect_refused("tokenizer", [](LoaderOptions& o) { o.fields[1] = text_fields(nullptr, 16, 100); });
  expect_refused("threads must be 1 to 1024, found 0; prefetch", [](LoaderOptions& o) { o.threads = o.prefetch = 0; });
  expect_refused("start step", [](LoaderOptions& o) { o.start_step = -1; });
  expect_refused("global batch must be 1", [](LoaderOptions& o) { o.global_batch = 0; });
  LoaderOptions twice = training_options();
  twice.fields.push_back(presence_fields());
  EXPECT_THROW(Loader(folders().sound, twice), InternalError) << "two fields of a name";
  LoaderOptions evaluation = training_options();
  evaluation.training = false;
  evaluation.global_batch = 48;
  EXPECT_EQ(Loader(folders().sound, evaluation).num_steps(), 1) << "padded";
}

TEST(Loader, EndsAtAnyTime) {
  for (int taken = 0; taken < 12; ++taken) {
    LoaderOptions options = training_options();
    options.threads = 1 + taken % 4;
    options.prefetch = 1 + taken * 3;
    Loader loader(folders().damaged, options);
    for (int i = 0; i < taken / 2; ++i) loader.next();
  }
}

TEST(Loader, UsesRecycledMemoryAgain) {
  LoaderOptions options = training_options();
  options.prefetch = 3;
  Loader loader(folders().sound, options);
  const std::vector<Batch> expected = take(folders().sound, options, 20);
  std::set<const void*> buffers;
  for (std::size_t i = 0; i < 20; ++i) {
    Batch batch = loader.next();
    expect_equal(batch, expected[i]);
    buffers.insert(batch.arrays[0].data());
    loader.recycle(std::move(batch));
    loader.recycle(Batch());  // is none of its own
  }
  EXPECT_LE(buffers.size(), 4u) << "those in flight and the one in use";
}

TEST(Loader, CountsItsWork) {
  Loader loader(folders().sound, training_options());
  for (int i = 0; i < 5; ++i) loader.next();
  const LoaderStats stats = loader.stats();
  EXPECT_EQ(stats.num_batches, 5);
  EXPECT_EQ(stats.num_samples, 60u);
  EXPECT_EQ(stats.num_bad, 0u);
  EXPECT_GT(stats.bytes_read, 10000u);
  EXPECT_GT(stats.decode_ms, 0);
  EXPECT_GT(stats.storage_ms, 0);
  EXPECT_GT(stats.collate_ms, 0);
  EXPECT_NEAR(stats.wait_storage_ms + stats.wait_decode_ms + stats.wait_collate_ms, stats.wait_ms, 1e-6);
}

}  // namespace
}  // namespace triptych::test
