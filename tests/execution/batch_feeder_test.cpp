#include "execution/batch_feeder.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/loader_support.h"

namespace triptych::test {
namespace {

TEST(BatchFeeder, BringsTheNamedFieldsOfEachBatchInOrder) {
  Device device(1);
  const std::vector<Batch> expected = take(folders().sound, training_options(), 5);
  Loader loader(folders().sound, training_options());
  const std::vector<std::string> names{"lengths", "pixels"};
  BatchFeeder feeder(device, loader, names);
  for (std::size_t step = 0; step < 5; ++step) {
    const Fields& batch = feeder.next();
    EXPECT_EQ(batch.num_samples(), 12);
    const auto lengths = expected[step].values<int32_t>("lengths");
    const auto pixels = expected[step].values<uint8_t>("pixels");
    EXPECT_EQ(batch["lengths"].to_vector<int32_t>(), std::vector<int32_t>(lengths.begin(), lengths.end()));
    EXPECT_EQ(batch["pixels"].shape(), (Shape{12, 24, 24, 3}));
    EXPECT_EQ(batch["pixels"].to_vector<uint8_t>(), std::vector<uint8_t>(pixels.begin(), pixels.end()));
    EXPECT_FALSE(batch.contains("tokens") || batch.contains("image_present"));
    if (step % 2 == 0) feeder.prefetch();
  }
  const Fields copy = to_device(device, expected[2], std::vector<std::string>{"text_present"});
  const auto present = expected[2].values<uint8_t>("text_present");
  EXPECT_EQ(copy["text_present"].to_vector<uint8_t>(), std::vector<uint8_t>(present.begin(), present.end()));
  EXPECT_FALSE(copy.contains("pixels"));
}

TEST(BatchFeeder, CountsSamplesWhereAStageReadsNoField) {
  Device device(1);
  LoaderOptions options = training_options();
  options.fields = {};
  Loader loader(folders().sound, options);
  BatchFeeder feeder(device, loader, {});
  for (int step = 0; step < 3; ++step) {
    EXPECT_EQ(feeder.next().cut(4)[3].num_samples(), 3);
    feeder.prefetch();
  }
}

TEST(BatchFeeder, RefusesAFieldThatTheLoaderLacks) {
  Device device(1);
  Loader loader(folders().sound, training_options());
  BatchFeeder feeder(device, loader, {"boxes"});
  EXPECT_THROW(feeder.next(), InternalError);
}

}  // namespace
}  // namespace triptych::test
