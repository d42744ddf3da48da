#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/dataset.h"
#include "data/index_builder.h"
#include "data/shard_writer.h"
#include "image_fixtures.h"
#include "scratch_folder.h"

namespace triptych::test {

/// A whole PNG of 1 x 1 pixel, grey; its second byte of pixel data, so its colour, is `shade` of 0 or 255.
inline std::vector<std::byte> tiny_png() {
  static constexpr std::string_view kPng(
      "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0\x3a\x7e\x9b\x55\0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\2"
      "\0\1\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82",
      67);
  const auto bytes = std::as_bytes(std::span(kPng));
  return {bytes.begin(), bytes.end()};
}

inline std::string bytes_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

inline std::string file_text(const std::filesystem::path& path) {
  return bytes_text(read_bytes(path));
}

inline void write_text(const std::filesystem::path& path, std::string_view text) {
  std::ofstream(path, std::ios::binary) << text;
}

/// Replaces one byte of a file.
inline void poke(const std::filesystem::path& path, uint64_t offset, char byte) {
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  file.seekp(static_cast<std::streamoff>(offset));
  file.put(byte);
}

struct TestSample {
  uint64_t id = 0;
  std::vector<std::byte> image;
  std::vector<std::string> captions;
  std::optional<int64_t> label;
  std::vector<TextRole> roles = {};
  std::vector<BoxRecord> boxes = {};
};

inline void write_shard(const std::filesystem::path& path, const std::vector<TestSample>& samples,
                        const std::string& data_set_id = "test-set") {
  ShardWriter writer(path, data_set_id);
  for (const TestSample& sample : samples) {
    const std::vector<std::string_view> captions(sample.captions.begin(), sample.captions.end());
    writer.add({sample.id, sample.image, captions, sample.label, sample.roles, sample.boxes});
  }
  writer.close();
}

/// Four samples: with everything, without captions, without an image, with an image and one caption.
inline std::vector<TestSample> four_samples(uint64_t first_id = 1) {
  return {{first_id, tiny_png(), {"one", "zwei", "三"}, 7},
          {first_id + 1, tiny_png(), {}, std::nullopt},
          {first_id + 2, {}, {"a caption alone"}, 0},
          {first_id + 3, tiny_png(), {"x"}, std::nullopt}};
}

inline void expect_samples(const Dataset& dataset, const std::vector<TestSample>& expected) {
  ASSERT_EQ(dataset.size(), expected.size());
  SampleBuffer buffer;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    SCOPED_TRACE(dataset.sample_name(i));
    dataset.read(i, buffer);
    EXPECT_EQ(buffer.id, expected[i].id);
    EXPECT_EQ(dataset.id(i), expected[i].id);
    EXPECT_EQ(bytes_text(buffer.image), bytes_text(expected[i].image));
    ASSERT_EQ(buffer.num_captions(), expected[i].captions.size());
    for (std::size_t k = 0; k < buffer.num_captions(); ++k) EXPECT_EQ(buffer.caption(k), expected[i].captions[k]);
    EXPECT_EQ(dataset.record(i).label, expected[i].label);
    EXPECT_EQ(dataset.record(i).num_captions, expected[i].captions.size());
    EXPECT_EQ(dataset.record(i).image_bytes, expected[i].image.size());
    for (uint32_t k = 0; k < buffer.num_captions(); ++k) {
      EXPECT_EQ(dataset.record(i).role(k), expected[i].roles.empty() ? TextRole::kCaption : expected[i].roles[k]);
    }
    EXPECT_TRUE(std::ranges::equal(dataset.record(i).boxes, expected[i].boxes));
  }
}

/// The text of the Error of kind `kind` that `action` throws; a failure if it throws none or another.
inline std::string error_text(ErrorKind kind, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

inline void expect_error(ErrorKind kind, std::string_view part, const std::function<void()>& action) {
  const std::string text = error_text(kind, action);
  EXPECT_TRUE(text.find(part) != std::string::npos) << "expected: " << part << "\nfound: " << text;
}

/// Runs a script of this folder with Debian's interpreter, which has h5py and Pillow.
inline void run_python(std::string_view script, const std::vector<std::filesystem::path>& arguments) {
  const std::filesystem::path path = std::filesystem::path(__FILE__).parent_path() / script;
  std::string command = fmt::format("/usr/bin/python3 '{}'", path.string());
  for (const auto& argument : arguments) command += fmt::format(" '{}'", argument.string());
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

}  // namespace triptych::test
