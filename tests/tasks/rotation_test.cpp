#include <numeric>
#include <set>
#include <vector>

#include <gtest/gtest.h>

#include "data/field_sources.h"
#include "data/loader.h"
#include "data/png_writer.h"
#include "data/scratch_folder.h"
#include "data/small_data_set.h"
#include "parallel/in_process_group.h"
#include "support/tolerance.h"
#include "tests/tasks/rotation/rotation_task.h"
#include "training/verify.h"

namespace triptych::test {
namespace {

constexpr const char* kConfig = R"(
task = "rotation"
model.dropout = 0.1
training.global_batch = 12
[model.image]
size = 12
patch = 4
width = 20
layers = 2
heads = 2
feed_forward = 26
)";

// [0, 1, 2], [3, 4, 5], [6, 7, 8] a quarter against the clock: [2, 5, 8], [1, 4, 7], [0, 3, 6].
TEST(Rotation, TurnsAPictureAgainstTheClock) {
  const std::vector<uint8_t> places{2, 5, 8, 1, 4, 7, 0, 3, 6};
  std::vector<uint8_t> pixels(27), expected;
  std::iota(pixels.begin(), pixels.end(), uint8_t{0});
  for (const uint8_t place : places) {
    for (int channel = 0; channel < 3; ++channel) expected.push_back(static_cast<uint8_t>(3 * place + channel));
  }
  turn_by_a_quarter(pixels, 3);
  EXPECT_EQ(pixels, expected);
}

TEST(Rotation, TheFieldSaysHowFarThePictureWasTurned) {
  const ScratchFolder folder;
  const auto data = make_data_set(folder / "data", 23, [](uint64_t i) {
    std::vector<uint8_t> pixels;
    for (uint64_t k = 0; k < 11 * 13 * 3; ++k) pixels.push_back(static_cast<uint8_t>((i + 2) * (k + 5) % 251));
    return SmallSample{i % 7 == 5 ? std::vector<std::byte>() : encode_png(11, 13, pixels), {"a caption"}};
  });
  const auto batches = [&](const FieldSource& source) {
    LoaderOptions options;
    options.fields = {source};
    options.global_batch = 6;
    options.seed = 5;
    Loader loader(data, options);
    std::vector<Batch> all;
    for (int i = 0; i < 6; ++i) all.push_back(loader.next());
    return all;
  };
  const std::vector<Batch> upright = batches(pixels_field(9)), turned = batches(rotation_fields(9, {}));
  std::set<int32_t> seen;
  for (std::size_t b = 0; b < turned.size(); ++b) {
    for (std::size_t row = 0; row < 6; ++row) {
      const int32_t turns = turned[b].values<int32_t>("rotation")[row];
      const auto before = upright[b].values<uint8_t>("pixels").subspan(row * 243, 243);
      const auto after = turned[b].values<uint8_t>("pixels").subspan(row * 243, 243);
      std::vector<uint8_t> expected(before.begin(), before.end());
      for (int32_t k = 0; k < turns; ++k) turn_by_a_quarter(expected, 9);
      EXPECT_EQ(std::vector<uint8_t>(after.begin(), after.end()), expected);
      seen.insert(turns);
    }
  }
  EXPECT_EQ(seen, (std::set<int32_t>{-1, 0, 1, 2, 3}));
}

TEST(Rotation, ParallelEqualsSerial) {
  RunConfig config = parse_run_config(kConfig, "rotation", tasks_with_rotation());
  config.parallel = {.mesh = {.pp = 2, .dp = 1, .tp = 2}, .schedule = "1f1b", .microbatches = 3};
  run_ranks(4, [&](Group& world) {
    const VerifyResult result = verify(config, world, RankPlace{});
    EXPECT_LT(result.loss_error, kBetweenMeshes);
    EXPECT_LT(result.worst_error, kBetweenMeshes) << result.worst_parameter;
  });
}

TEST(Rotation, IsUnknownToAProgramWithoutIt) {
  EXPECT_THROW(parse_run_config(kConfig, "rotation", tasks_with_rotation().first(4)), UserError);
}

}  // namespace
}  // namespace triptych::test
