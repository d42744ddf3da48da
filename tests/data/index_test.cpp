#include <fstream>

#include <nlohmann/json.hpp>

#include "data/index_file.h"
#include "data/inspect_shard.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

void read_all(const fs::path& dir) {
  const Dataset dataset = Dataset::open(dir);
  SampleBuffer buffer;
  for (uint64_t i = 0; i < dataset.size(); ++i) dataset.read(i, buffer);
}

class IndexTest : public ::testing::Test {
 protected:
  IndexTest() {
    write_shard(folder_ / "shard_00000.h5", four_samples(1));
    write_shard(folder_ / "shard_00001.h5", four_samples(11));
    build_index(folder_.path());
  }
  const fs::path& dir() const { return folder_.path(); }

  ScratchFolder folder_;
};

TEST_F(IndexTest, EveryFlippedByteOfTheIndexIsNoticed) {
  for (const std::string name : {"index.json", "index.bin"}) {
    const std::string original = file_text(dir() / name);
    for (std::size_t at = 0; at < original.size(); ++at) {
      const char flipped = static_cast<char>(original[at] ^ 0x10);
      // White space between tokens of the JSON carries nothing.
      if (name == "index.json" && std::string_view(" \n").find(original[at]) != std::string_view::npos) continue;
      poke(dir() / name, at, flipped);
      expect_error(ErrorKind::kWorld, "Run `triptych index ", [&] { read_all(dir()); });
      poke(dir() / name, at, original[at]);
    }
  }
  read_all(dir());
}

TEST_F(IndexTest, TruncatedIndexIsNoticed) {
  for (const std::string name : {"index.json", "index.bin"}) {
    const std::string original = file_text(dir() / name);
    for (std::size_t length = 0; length + 1 < original.size(); length += 17) {
      write_text(dir() / name, original.substr(0, length));
      expect_error(ErrorKind::kWorld, name, [&] { read_all(dir()); });
    }
    write_text(dir() / name, original);
  }
}

/// Replaces a value in index.json and makes its checksum fit again, as a forger would.
void forge(const fs::path& dir, const std::function<void(nlohmann::ordered_json&)>& change) {
  auto json = nlohmann::ordered_json::parse(file_text(dir / "index.json"));
  json.erase("checksum");
  change(json);
  const std::string text = json.dump();
  json["checksum"] = hash128(std::as_bytes(std::span(text))).hex();
  write_text(dir / "index.json", json.dump(1));
}

TEST_F(IndexTest, ForgedJsonLeadsNowhere) {
  const std::string original = file_text(dir() / "index.json");
  const auto expect_forged = [&](std::string_view part, const std::function<void(nlohmann::ordered_json&)>& change) {
    forge(dir(), change);
    expect_error(ErrorKind::kWorld, part, [&] { read_all(dir()); });
    write_text(dir() / "index.json", original);
  };
  forge(dir(), [](auto&) {});
  read_all(dir());  // the forger's checksum is right
  expect_forged("plain name", [](auto& json) { json["shards"][0]["file"] = "../../etc/passwd"; });
  expect_forged("plain name", [](auto& json) { json["shards"][0]["file"] = "/etc/passwd"; });
  expect_forged("plain name", [](auto& json) { json["shards"][0]["file"] = ".."; });
  expect_forged("plain name", [](auto& json) { json["shards"][0]["file"] = ""; });
  expect_forged("does not lie in", [](auto& json) { json["shards"][0]["arrays"]["images/bytes"] = {1, ~uint64_t{0}}; });
  expect_forged("does not lie in", [](auto& json) { json["shards"][0]["arrays"]["images/bytes"][0] = ~uint64_t{0}; });
  expect_forged("must be [offset, bytes]", [](auto& json) { json["shards"][0]["arrays"]["images/bytes"] = 4; });
  expect_forged("points outside", [](auto& json) { json["shards"][0]["arrays"]["images/bytes"][1] = 1; });
  expect_forged("add up", [](auto& json) { json["num_samples"] = uint64_t{1} << 60; });
  expect_forged("'num_samples' must be a number", [](auto& json) { json["num_samples"] = -1; });
  expect_forged("a shard may have", [](auto& json) { json["shards"][0]["num_samples"] = uint64_t{1} << 40; });
  expect_forged("index.bin] must have", [](auto& json) {
    json["shards"][0]["num_samples"] = uint64_t{1} << 30;
    json["num_samples"] = (uint64_t{1} << 30) + 4;
  });
  expect_forged("hexadecimal", [](auto& json) { json["arrays"]["xxh3_128"] = "12"; });
  expect_forged("version 3 is not known", [](auto& json) { json["version"] = 3; });
  expect_forged("expected form", [](auto& json) { json["version"] = 2; });
  expect_forged("'format' must be", [](auto& json) { json["format"] = "other"; });
  expect_forged("'shards' must list", [](auto& json) { json["shards"] = nlohmann::ordered_json::object({{"a", 1}}); });
  expect_forged("expected form", [](auto& json) { json.erase("shards"); });
  expect_forged("expected form", [](auto& json) { json["data_set_id"] = 5; });
}

TEST_F(IndexTest, ForgedRecordsLeadNowhere) {
  const std::string original = file_text(dir() / "index.bin");
  const auto expect_forged = [&](std::size_t offset, uint32_t value) {
    SCOPED_TRACE(offset);
    std::string forged = original;
    std::memcpy(forged.data() + 64 + offset, &value, sizeof(value));
    write_text(dir() / "index.bin", forged);
    forge(dir(), [&](auto& json) { json["arrays"]["xxh3_128"] = hash128(std::as_bytes(std::span(forged))).hex(); });
    expect_error(ErrorKind::kWorld, "shard_00000.h5", [&] { read_all(dir()); });
  };
  expect_forged(8, 1u << 30);      // an image beyond the file
  expect_forged(12, 0xFFFFFFFFu);  // the upper half of that offset
  expect_forged(24, 1u << 30);     // captions beyond the file
  expect_forged(40, 0xFFFFFFFFu);  // an image of 4 GiB
  expect_forged(52, 9);            // an unknown format
  expect_forged(56, 3);            // captions of another sample
  expect_forged(60, 0xFFFFFFFFu);  // four thousand million captions
  expect_forged(16, 12345);        // a checksum
}

TEST_F(IndexTest, ShardsThatDoNotBelong) {
  const ScratchFolder other;
  write_shard(other / "shard_00000.h5", four_samples(21), "other-set");
  write_shard(other / "shard_00001.h5", four_samples(31), "other-set");
  build_index(other.path());

  // Swapped: names are exchanged, sizes are equal.
  fs::rename(dir() / "shard_00000.h5", dir() / "x");
  fs::rename(dir() / "shard_00001.h5", dir() / "shard_00000.h5");
  fs::rename(dir() / "x", dir() / "shard_00001.h5");
  expect_error(ErrorKind::kWorld, "shard_00000.h5] its metadata is not what was indexed", [&] { read_all(dir()); });
  build_index(dir());
  read_all(dir());

  // A shard of another data set, first under the old index, then indexed.
  fs::copy_file(other / "shard_00000.h5", dir() / "shard_00001.h5", fs::copy_options::overwrite_existing);
  EXPECT_THROW(read_all(dir()), WorldError);
  expect_error(ErrorKind::kUser, "belongs to the data set 'other-set', but shard_00000.h5 to 'test-set'",
               [&] { build_index(dir()); });

  // The index of another data set, whole or in half.
  write_shard(dir() / "shard_00001.h5", four_samples(1));
  fs::copy_file(other / "index.bin", dir() / "index.bin", fs::copy_options::overwrite_existing);
  expect_error(ErrorKind::kWorld, "index.bin] does not have the hash", [&] { read_all(dir()); });
  fs::copy_file(other / "index.json", dir() / "index.json", fs::copy_options::overwrite_existing);
  EXPECT_THROW(read_all(dir()), WorldError);
}

TEST_F(IndexTest, FilesThatComeAndGo) {
  write_shard(dir() / "shard_00002.h5", four_samples(41));
  expect_error(ErrorKind::kUser, "holds shard_00002.h5, which its index does not know", [&] { read_all(dir()); });
  fs::remove(dir() / "shard_00002.h5");
  read_all(dir());
  fs::remove(dir() / "shard_00001.h5");
  expect_error(ErrorKind::kWorld, "shard_00001.h5] is in the index but missing", [&] { read_all(dir()); });
  fs::create_directory(dir() / "shard_00001.h5");
  expect_error(ErrorKind::kUser, "must be a regular file", [&] { read_all(dir()); });
  fs::remove(dir() / "shard_00001.h5");
  fs::remove(dir() / "index.bin");
  expect_error(ErrorKind::kWorld, "index.bin] is missing", [&] { read_all(dir()); });
  fs::remove(dir() / "index.json");
  expect_error(ErrorKind::kUser, "is no indexed data set", [&] { read_all(dir()); });
  expect_error(ErrorKind::kUser, "does not exist", [&] { read_all(dir() / "nowhere"); });
  expect_error(ErrorKind::kUser, "must be a folder", [&] { read_all(dir() / "shard_00000.h5"); });
  expect_error(ErrorKind::kUser, "does not exist", [&] { build_index(dir() / "nowhere"); });
}

TEST_F(IndexTest, ShrinkingAfterOpeningIsNoticed) {
  const Dataset dataset = Dataset::open(dir());
  SampleBuffer buffer;
  fs::resize_file(dir() / "shard_00001.h5", 100);
  dataset.read(0, buffer);
  expect_error(ErrorKind::kWorld, "shard_00001.h5 sample 0 (id 11)", [&] { dataset.read(4, buffer); });
}

TEST(Index, RefusesEmptyAndDoubledData) {
  const ScratchFolder folder;
  expect_error(ErrorKind::kUser, "holds no shard", [&] { build_index(folder.path()); });
  write_shard(folder / "a.h5", {});
  expect_error(ErrorKind::kUser, "is an empty data set", [&] { build_index(folder.path()); });
  write_shard(folder / "b.h5", four_samples(1));
  write_shard(folder / "c.h5", four_samples(4));
  expect_error(ErrorKind::kUser, "c.h5 sample 0: the id 4 was already that of b.h5 sample 3",
               [&] { build_index(folder.path()); });
}

TEST(Index, KeepsTheOldIndexUntilTheNewOneIsComplete) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples(1));
  build_index(folder.path());
  const std::string json = file_text(folder / "index.json"), arrays = file_text(folder / "index.bin");
  write_shard(folder / "b.h5", four_samples(1));
  EXPECT_THROW(build_index(folder.path()), UserError);
  EXPECT_EQ(file_text(folder / "index.json"), json);
  EXPECT_EQ(file_text(folder / "index.bin"), arrays);
}

TEST(Index, LabelsOfSomeShardsOnly) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", {{1, {}, {"a"}, {}}, {2, {}, {"b"}, {}}});
  write_shard(folder / "b.h5", {{3, {}, {"c"}, 9}, {4, {}, {"d"}, {}}});
  write_shard(folder / "c.h5", {{5, {}, {"e"}, {}}});
  build_index(folder.path());
  const Dataset dataset = Dataset::open(folder.path());
  const std::vector<std::optional<int64_t>> expected{{}, {}, 9, {}, {}};
  for (uint64_t i = 0; i < 5; ++i) EXPECT_EQ(dataset.record(i).label, expected[i]) << i;
}

// The checksums that the document promises, computed here from the document's words alone.
TEST(Index, HashesAreThoseOfTheDocument) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  build_index(folder.path());
  const auto json = nlohmann::json::parse(file_text(folder / "index.json"));
  std::string file = file_text(folder / "a.h5");
  const auto images = json["shards"][0]["arrays"]["images/bytes"],
             captions = json["shards"][0]["arrays"]["captions/bytes"];
  const uint64_t image_at = images[0], caption_at = captions[0], image_bytes = images[1], caption_bytes = captions[1];
  EXPECT_EQ(file.substr(caption_at, caption_bytes), "onezwei三a caption alonex");
  if (image_at < caption_at) {
    file.erase(caption_at, caption_bytes).erase(image_at, image_bytes);
  } else {
    file.erase(image_at, image_bytes).erase(caption_at, caption_bytes);
  }
  EXPECT_EQ(hash128(std::as_bytes(std::span(file))).hex(), json["shards"][0]["metadata_xxh3_128"].get<std::string>());
  const std::string arrays = file_text(folder / "index.bin");
  EXPECT_EQ(arrays.size(), 64 + 4 * 64 + 4 * 8 + 5 * 4u);
  uint64_t checksum = 0;
  std::memcpy(&checksum, arrays.data() + 64 + 32, 8);
  EXPECT_EQ(checksum, hash64(std::as_bytes(std::span(std::string_view("onezwei三")))));
}

TEST(Inspect, DescribesShardsAndFolders) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", {{1, tiny_png(), {"red \x1b[31m apple", "一"}, 7}, {2, {}, {"x"}, {}}});
  const std::string alone = describe_data(folder / "a.h5", {.verify = true});
  EXPECT_NE(alone.find("samples     2 (1 with an image, 2 with captions)"), std::string::npos) << alone;
  EXPECT_NE(alone.find("missing     1 have no image, 1 no label; 1 have an image and a caption\n"), std::string::npos)
      << alone;
  EXPECT_NE(alone.find("PNG 1x1, 67 B"), std::string::npos) << alone;
  EXPECT_NE(alone.find("red ?[31m apple | 一"), std::string::npos) << alone;
  EXPECT_NE(alone.find("no index.json lies beside it"), std::string::npos) << alone;
  expect_error(ErrorKind::kUser, "is no indexed data set", [&] { describe_data(folder.path(), {}); });
  build_index(folder.path());
  EXPECT_NE(describe_data(folder / "a.h5", {.verify = true}).find("checksums of all 2 samples agree"),
            std::string::npos);
  EXPECT_NE(describe_data(folder.path(), {.verify = true}).find("checksums of all 2 samples"), std::string::npos);
  EXPECT_NE(describe_data(folder.path(), {}).find("labels      1, 7 to 7"), std::string::npos);
  write_shard(folder / "whole.h5", {{1, tiny_png(), {"x"}, {}}});
  EXPECT_EQ(describe_data(folder / "whole.h5", {}).find("missing"), std::string::npos) << "no sample has a label";
  std::filesystem::remove(folder / "whole.h5");

  // A caption that is still UTF-8, but not what was indexed.
  const uint64_t at = Dataset::open(folder.path()).record(1).captions_offset;
  poke(folder / "a.h5", at, 'y');
  EXPECT_NO_THROW(describe_data(folder.path(), {}));
  expect_error(ErrorKind::kWorld, "a.h5 sample 1 (id 2): its caption bytes",
               [&] { describe_data(folder.path(), {.verify = true}); });
  expect_error(ErrorKind::kWorld, "sample 1 (id 2) is not what was indexed",
               [&] { describe_data(folder / "a.h5", {.verify = true}); });
  expect_error(ErrorKind::kUser, "does not exist", [&] { describe_data(folder / "b.h5", {.verify = true}); });
}

}  // namespace
}  // namespace triptych::test
