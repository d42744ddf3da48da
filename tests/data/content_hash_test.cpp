#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/dataset.h"
#include "data/index_builder.h"
#include "data/shard_writer.h"
#include "image_fixtures.h"
#include "scratch_folder.h"

namespace triptych::test {
namespace {

struct Sample {
  uint64_t id;
  std::string image;
  std::vector<std::string> captions;
  int64_t label;
};

// The hash of a data set of these samples, cut into shards of `per_shard`.
std::string hash_of(const std::vector<Sample>& samples, std::size_t per_shard, const std::string& data_set_id = "a") {
  const ScratchFolder folder;
  for (std::size_t first = 0; first < samples.size(); first += per_shard) {
    ShardWriter writer(folder / shard_file_name(first / per_shard), data_set_id);
    for (std::size_t i = first; i < std::min(first + per_shard, samples.size()); ++i) {
      const std::vector<std::byte> image = read_bytes(image_fixtures() / samples[i].image);
      const std::vector<std::string_view> captions(samples[i].captions.begin(), samples[i].captions.end());
      writer.add({.id = samples[i].id, .image = image, .captions = captions, .label = samples[i].label});
    }
    writer.close();
  }
  build_index(folder.path());
  return Dataset::open(folder.path()).content_hash().hex();
}

const std::vector<Sample> kSamples{{1, "rgb.png", {"ab", "c"}, 3},
                                   {2, "420.jpg", {"d"}, 4},
                                   {3, "rgb.png", {"e", "f"}, 5},
                                   {4, "gray.jpg", {"g"}, 6},
                                   {5, "rgb16.png", {"h"}, 7}};

TEST(ContentHash, IsOfTheSamplesAndNotOfWhereTheyLie) {
  const std::string hash = hash_of(kSamples, 5);
  for (const std::size_t per_shard : {1, 2, 3}) EXPECT_EQ(hash_of(kSamples, per_shard), hash);
  EXPECT_EQ(hash_of(kSamples, 2, "b"), hash);
}

TEST(ContentHash, DiffersWithEverythingThatTrainingSees) {
  std::vector<std::string> hashes{hash_of(kSamples, 2)};
  const auto change = [&](const auto& work) {
    std::vector<Sample> samples = kSamples;
    work(samples);
    hashes.push_back(hash_of(samples, 2));
  };
  change([](auto& s) { std::swap(s[1], s[3]); });
  change([](auto& s) { s.pop_back(); });
  change([](auto& s) { s[2].id = 9; });
  change([](auto& s) { s[2].image = "420.jpg"; });
  change([](auto& s) { s[2].label = 6; });
  change([](auto& s) { s[1].captions = {"D"}; });
  change([](auto& s) { s[0].captions = {"a", "bc"}; });  // the same bytes, cut elsewhere
  change([](auto& s) { s[0].captions = {"abc"}; });
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::adjacent_find(hashes.begin(), hashes.end()), hashes.end()) << "two of them are alike";
}

}  // namespace
}  // namespace triptych::test
