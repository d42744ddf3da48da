#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstring>
#include <thread>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/hash.h"
#include "data/shard_format.h"
#include "data/shard_layout.h"
#include "shard_support.h"

namespace triptych::test {
namespace {

namespace fs = std::filesystem;

TEST(Shard, SamplesReadBackAsWritten) {
  const ScratchFolder folder;
  write_shard(folder / "shard_00000.h5", four_samples(1));
  write_shard(folder / "shard_00001.h5", four_samples(100));
  const IndexSummary summary = build_index(folder.path());
  EXPECT_EQ(summary.num_shards, 2u);
  EXPECT_EQ(summary.num_samples, 8u);
  EXPECT_EQ(summary.num_captions, 10u);
  EXPECT_EQ(summary.num_images, 6u);

  const Dataset dataset = Dataset::open(folder.path());
  std::vector<TestSample> expected = four_samples(1);
  for (TestSample& sample : four_samples(100)) expected.push_back(sample);
  expect_samples(dataset, expected);
  EXPECT_EQ(dataset.data_set_id(), "test-set");
  EXPECT_EQ(dataset.num_captions(), 10u);
  EXPECT_EQ(dataset.num_images(), 6u);
  EXPECT_TRUE(dataset.has_images() && dataset.has_captions() && dataset.has_labels());
  EXPECT_EQ(dataset.num_shards(), 2u);
  EXPECT_EQ(dataset.first_sample(1), 4u);
  EXPECT_EQ(dataset.sample_name(5), "shard_00001.h5 sample 1 (id 101)");
  EXPECT_EQ(dataset.record(5).width, 1u);
  EXPECT_EQ(dataset.record(5).height, 1u);
  EXPECT_EQ(dataset.record(5).image_format, ImageFormat::kPng);
  EXPECT_EQ(dataset.record(5).shard, 1u);
}

// The records are what other programs would find: the bytes at the offset that the index states.
TEST(Shard, RecordsPointAtTheBytesInTheFile) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  build_index(folder.path());
  const Dataset dataset = Dataset::open(folder.path());
  const std::string file = file_text(folder / "a.h5");
  const SampleRecord record = dataset.record(3);
  EXPECT_EQ(file.substr(record.image_offset, record.image_bytes), bytes_text(tiny_png()));
  EXPECT_EQ(file.substr(record.captions_offset, 1), "x");
  EXPECT_EQ(file.substr(dataset.record(0).captions_offset, 10), "onezwei三");
}

TEST(Shard, PartsAreReadApart) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  build_index(folder.path());
  const Dataset dataset = Dataset::open(folder.path());
  SampleBuffer buffer;
  dataset.read(0, buffer);
  dataset.read(0, buffer, SampleParts::kCaptions);
  EXPECT_TRUE(buffer.image.empty());
  EXPECT_EQ(buffer.num_captions(), 3u);
  EXPECT_EQ(buffer.caption(2), "三");
  dataset.read(0, buffer, SampleParts::kImage);
  EXPECT_EQ(buffer.num_captions(), 0u);
  EXPECT_TRUE(buffer.caption_bytes.empty());
  EXPECT_EQ(bytes_text(buffer.image), bytes_text(tiny_png()));

  // A rank that skips the images does not notice that one is damaged, and the others do.
  poke(folder / "a.h5", dataset.record(0).image_offset + 40, '!');
  dataset.read(0, buffer, SampleParts::kCaptions);
  expect_error(ErrorKind::kWorld, "a.h5 sample 0 (id 1): its image bytes do not have the checksum",
               [&] { dataset.read(0, buffer, SampleParts::kImage); });
}

TEST(Shard, OneModalityAlone) {
  const ScratchFolder images, captions;
  write_shard(images / "a.h5", {{1, tiny_png(), {}, {}}, {2, tiny_png(), {}, {}}});
  write_shard(captions / "a.h5", {{1, {}, {"one"}, {}}});
  build_index(images.path());
  build_index(captions.path());
  const Dataset pictures = Dataset::open(images.path()), texts = Dataset::open(captions.path());
  EXPECT_TRUE(pictures.has_images() && !pictures.has_captions() && !pictures.has_labels());
  EXPECT_TRUE(!texts.has_images() && texts.has_captions());
  expect_samples(pictures, {{1, tiny_png(), {}, {}}, {2, tiny_png(), {}, {}}});
  expect_samples(texts, {{1, {}, {"one"}, {}}});
}

TEST(Shard, SameSamplesGiveTheSameBytes) {
  const ScratchFolder folder;
  write_shard(folder / "a.h5", four_samples());
  ::usleep(1100000);  // a time of creation, if one were stored, would differ by a second
  write_shard(folder / "b.h5", four_samples());
  EXPECT_EQ(hash_file(folder / "a.h5"), hash_file(folder / "b.h5"));
}

TEST(Shard, ManyReadersAndMoreShardsThanOpenFiles) {
  const ScratchFolder folder;
  constexpr uint64_t kShards = 131;
  constexpr std::string_view kText = "caption of 0000";
  write_shard(folder / "model", {{0x1122334455667788, {}, {std::string(kText)}, {}}});
  std::string file = file_text(folder / "model");
  const std::size_t id_at = file.find("\x88\x77\x66\x55\x44\x33\x22\x11"), text_at = file.find(kText);
  for (uint64_t s = 0; s < kShards; ++s) {
    std::memcpy(file.data() + id_at, &s, sizeof(s));
    file.replace(text_at, kText.size(), fmt::format("caption of {:04}", s));
    write_text(folder / shard_file_name(s), file);
  }
  build_index(folder.path());
  const Dataset dataset = Dataset::open(folder.path());
  std::atomic<int> wrong = 0;
  std::vector<std::jthread> threads;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      SampleBuffer buffer;
      for (uint64_t k = 0; k < 1200; ++k) {
        const uint64_t i = (k * 37 + t * 41) % kShards;
        dataset.read(i, buffer);
        if (buffer.id != i || buffer.caption(0) != fmt::format("caption of {:04}", i)) ++wrong;
      }
    });
  }
  threads.clear();
  EXPECT_EQ(wrong, 0);
}

TEST(Shard, WrittenByTheDocumentsExample) {
  const ScratchFolder folder;
  const fs::path document = fs::path(__FILE__).parent_path().parent_path().parent_path() / "docs" / "shard-format.md";
  run_python("shard_from_document.py", {document, folder.path()});
  build_index(folder.path());
  const Dataset dataset = Dataset::open(folder.path());
  ASSERT_EQ(dataset.size(), 5u);
  EXPECT_EQ(dataset.num_shards(), 3u);
  const std::vector<uint64_t> ids{900, ~uint64_t{0}, 0, 17, 18};
  const std::vector<uint32_t> widths{7, 31, 0, 9, 1}, heights{5, 17, 0, 11, 1};
  const std::vector<std::optional<int64_t>> labels{3, std::nullopt, 0, int64_t{1} << 40, std::nullopt};
  SampleBuffer buffer;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    dataset.read(i, buffer);
    EXPECT_EQ(buffer.id, ids[i]);
    const std::string name = std::to_string(ids[i]);
    EXPECT_EQ(bytes_text(buffer.image), file_text(folder / "expected" / (name + ".image")));
    std::string captions;
    for (std::size_t k = 0; k < buffer.num_captions(); ++k) captions += std::string(buffer.caption(k)) + "\n";
    EXPECT_EQ(captions, file_text(folder / "expected" / (name + ".captions")));
    EXPECT_EQ(dataset.record(i).width, widths[i]);
    EXPECT_EQ(dataset.record(i).height, heights[i]);
    EXPECT_EQ(dataset.record(i).label, labels[i]);
  }
  EXPECT_EQ(dataset.record(1).image_format, ImageFormat::kJpeg);
  EXPECT_EQ(dataset.record(3).image_format, ImageFormat::kWebp);

  // The same with roles and boxes, beside a shard that has neither.
  build_index(folder / "annotated");
  const Dataset annotated = Dataset::open(folder / "annotated");
  using enum TextRole;
  ASSERT_EQ(annotated.size(), 5u);
  EXPECT_TRUE(std::ranges::equal(annotated.record(0).roles, std::vector{kQuestion, kAnswer, kPhrase, kPhrase}));
  EXPECT_TRUE(std::ranges::equal(annotated.record(2).roles, std::vector{kCaption, kCaption, kCaption}));
  EXPECT_EQ(annotated.num_texts(kPhrase), 2u);
  EXPECT_EQ(annotated.num_texts(kCaption), 6u);
  EXPECT_TRUE(std::ranges::equal(
      annotated.record(0).boxes,
      std::vector<BoxRecord>{{0, 0, 2, 2, -1, 2}, {0, 0, 7, 5, 2147483647, -1}, {6, 0, 7, 5, 0, 3}}));
  EXPECT_EQ(annotated.num_boxes(), 3u);
  for (uint64_t i = 1; i < annotated.size(); ++i) EXPECT_TRUE(annotated.record(i).boxes.empty());
}

TEST(ShardWriter, RefusesWhatTheFormatForbids) {
  const ScratchFolder folder;
  const std::vector<std::byte> png = tiny_png();
  const auto add = [&](const std::vector<std::byte>& image, std::vector<std::string_view> captions,
                       std::optional<int64_t> label = {}) {
    ShardWriter writer(folder / "a.h5", "test-set");
    writer.add({1, image, captions, label});
  };
  expect_error(ErrorKind::kUser, "neither image nor captions", [&] { add({}, {}); });
  expect_error(ErrorKind::kUser, "caption 1 is empty", [&] { add(png, {"a", ""}); });
  expect_error(ErrorKind::kUser, "caption 0 is not UTF-8", [&] { add(png, {"\xff"}); });
  expect_error(ErrorKind::kUser, "the label -1 is negative", [&] { add(png, {}, -1); });
  expect_error(ErrorKind::kUser, "1025 captions", [&] { add(png, std::vector<std::string_view>(1025, "a")); });
  const std::string long_text(kMaxCaptionBytes + 1, 'a');
  expect_error(ErrorKind::kUser, "65537 bytes", [&] { add(png, {long_text}); });
  expect_error(ErrorKind::kUser, "67108865 bytes", [&] { add(std::vector<std::byte>(kMaxImageBytes + 1), {}); });
  expect_error(ErrorKind::kUser, "a data-set id is", [&] { ShardWriter(folder / "a.h5", "a/b"); });
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

// A file-size limit stands for a full disk: HDF5 fails in the middle of writing.
TEST(ShardWriter, FullDiskLeavesNothingBehind) {
  const ScratchFolder folder;
  const std::vector<std::byte> image(300000, std::byte{1});
  for (const rlim_t limit : {rlim_t{0}, rlim_t{1000}, rlim_t{100000}, rlim_t{301000}}) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::signal(SIGXFSZ, SIG_IGN);
      const rlimit size{limit, RLIM_INFINITY};
      ::setrlimit(RLIMIT_FSIZE, &size);
      int code = 1;
      try {
        write_shard(folder / "a.h5", {{1, image, {"one"}, {}}});
      } catch (const WorldError& error) {
        code = std::string_view(error.what()).find("a.h5") != std::string_view::npos ? 0 : 2;
      }
      ::_exit(code);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    EXPECT_TRUE(WIFEXITED(status)) << "limit " << limit << ", signal " << WTERMSIG(status);
    EXPECT_EQ(WEXITSTATUS(status), 0) << "limit " << limit;
    EXPECT_TRUE(fs::is_empty(folder.path())) << "limit " << limit;
  }
}

}  // namespace
}  // namespace triptych::test
