// Shards that are damaged, foreign or forged: each gives the samples as they were or one error, and never a crash.
#include <fstream>

#include "data/shard_scan.h"
#include "shard_support.h"
#include "support/sanitizer.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

TEST(HostileShard, ForeignFilesAreRefusedWithTheirRule) {
  const ScratchFolder folder;
  run_python("foreign_shards.py", {folder.path()});
  int num_cases = 0;
  for (const auto& entry : fs::directory_iterator(folder.path())) {
    if (!entry.is_directory()) continue;
    SCOPED_TRACE(entry.path().filename().string());
    ++num_cases;
    const std::string expected = file_text(entry.path() / "expected.txt");
    if (!expected.empty()) {
      const std::string text = error_text(ErrorKind::kUser, [&] { build_index(entry.path()); });
      EXPECT_NE(text.find(expected), std::string::npos) << "expected: " << expected << "\nfound: " << text;
      EXPECT_FALSE(fs::exists(entry.path() / "index.json"));
      continue;
    }
    build_index(entry.path());
    const Dataset dataset = Dataset::open(entry.path());
    SampleBuffer buffer;
    ASSERT_EQ(dataset.size(), 2u);
    dataset.read(0, buffer);
    EXPECT_EQ(buffer.id, 5u);
    EXPECT_EQ(buffer.image.size(), dataset.record(0).image_bytes);
    EXPECT_EQ(dataset.record(0).width, 3u);
    EXPECT_EQ(buffer.caption(0), "one");
    EXPECT_EQ(buffer.caption(1), "zwei");
    dataset.read(1, buffer);
    EXPECT_EQ(buffer.caption(0), "drei");
    if (entry.path().filename() == "ok_labels") {
      EXPECT_EQ(dataset.record(0).label, std::nullopt);
      EXPECT_EQ(dataset.record(1).label, 4);
    }
    if (entry.path().filename() == "ok_annotated") {
      EXPECT_EQ(dataset.record(0).role(0), TextRole::kPhrase);
      EXPECT_EQ(dataset.record(0).role(1), TextRole::kQuestion);
      EXPECT_EQ(dataset.record(1).role(0), TextRole::kCaption);
      ASSERT_EQ(dataset.record(0).boxes.size(), 2u);
      EXPECT_EQ(dataset.record(0).boxes[0], (BoxRecord{0, 0, 3, 2, 4, -1}));
      EXPECT_EQ(dataset.record(0).boxes[1], (BoxRecord{1, 1, 2, 2, -1, 0}));
      EXPECT_TRUE(dataset.record(1).boxes.empty());
    } else {
      EXPECT_EQ(dataset.num_boxes() != 0, entry.path().filename() == "ok_boxes_alone");
    }
  }
  EXPECT_GT(num_cases, 100);
}

/// Reads everything that the index allows; true if an error said that something is wrong.
bool some_error(const fs::path& dir) {
  try {
    const Dataset dataset = Dataset::open(dir);
    SampleBuffer buffer;
    for (uint64_t i = 0; i < dataset.size(); ++i) dataset.read(i, buffer);
    return false;
  } catch (const Error& error) {
    EXPECT_NE(error.kind(), ErrorKind::kInternal) << error.what();
    return true;
  }
}

// With an index, every byte of a shard is covered: by the metadata's hash or by a sample's checksum.
TEST(HostileShard, EveryFlippedByteIsNoticed) {
  const ScratchFolder folder;
  std::vector<TestSample> samples = four_samples();
  samples[0].roles = {TextRole::kQuestion, TextRole::kAnswer, TextRole::kPhrase};
  samples[0].boxes = {{0, 0, 1, 1, 3, 2}};
  write_shard(folder / "a.h5", samples);
  build_index(folder.path());
  ASSERT_FALSE(some_error(folder.path()));
  const std::string original = file_text(folder / "a.h5");
  for (std::size_t at = 0; at < original.size(); at += kIsSanitized ? 3 : 1) {
    poke(folder / "a.h5", at, static_cast<char>(original[at] ^ (1 << (at % 8))));
    EXPECT_TRUE(some_error(folder.path())) << "byte " << at;
    poke(folder / "a.h5", at, original[at]);
  }
  EXPECT_FALSE(some_error(folder.path()));
}

TEST(HostileShard, EveryTruncationIsNoticed) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  build_index(folder.path());
  for (std::size_t length = fs::file_size(folder / "a.h5"); length-- > 0;) {
    fs::resize_file(folder / "a.h5", length);
    if (length % 13 == 0) {
      EXPECT_TRUE(some_error(folder.path())) << length;
    }
  }
}

/// Scans a shard that was altered before anybody could know its hash. What HDF5 makes of such a file is open; that it
/// ends in samples that lie in the file or in an error for the user is not. True if it was refused.
bool scan_altered(const fs::path& path) {
  Problems problems;
  try {
    const ShardScan scan = scan_shard(path, problems);
    for (const IndexRecord& record : scan.records) {
      EXPECT_LE(record.image_offset + record.image_bytes, fs::file_size(path));
      EXPECT_LE(record.captions_offset, fs::file_size(path));
    }
    return !problems.empty();
  } catch (const UserError&) {
    return true;
  }
}

TEST(HostileShard, AlteredFilesWithoutAnIndexNeverCrash) {
  const ScratchFolder folder;
  // As h5py writes it by default: structures of HDF5's first versions, which have no checksums.
  run_python("foreign_shards.py", {folder.path()});
  const fs::path path = folder / "ok_plain" / "shard.h5";
  const std::string original = file_text(path);
  int num_refused = 0, num_files = 0;
  for (const unsigned char flip : {0xFF, 0x01}) {
    for (std::size_t at = flip % 3; at < original.size(); at += original[at] == 0 ? 67 : 11) {
      SCOPED_TRACE(at);
      poke(path, at, static_cast<char>(original[at] ^ flip));
      num_refused += scan_altered(path);
      poke(path, at, original[at]);
      ++num_files;
    }
  }
  EXPECT_GT(num_files, 350);
  EXPECT_GT(num_refused, num_files / 10);
  EXPECT_FALSE(scan_altered(path));
}

TEST(HostileShard, TruncatedFilesWithoutAnIndexAreRefused) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  const std::size_t size = fs::file_size(folder / "a.h5");
  for (std::size_t length = size - 1; length > 100; length -= length > 200 ? 61 : 7) {
    fs::resize_file(folder / "a.h5", length);
    expect_error(ErrorKind::kUser, "a.h5", [&] { build_index(folder.path()); });
  }
  EXPECT_FALSE(fs::exists(folder / "index.json"));
}

}  // namespace
}  // namespace triptych::test
