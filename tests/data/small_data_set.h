#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "data/dataset.h"
#include "data/index_builder.h"
#include "data/shard_writer.h"
#include "image_fixtures.h"

namespace triptych::test {

struct SmallSample {
  std::vector<std::byte> image;
  std::vector<std::string> captions;
  std::optional<int64_t> label = {};
  std::vector<TextRole> roles = {};
  std::vector<BoxRecord> boxes = {};
};

/// Writes and opens a data set of `count` samples in shards of 10.
inline std::shared_ptr<const Dataset> make_data_set(const std::filesystem::path& dir, uint64_t count,
                                                    const std::function<SmallSample(uint64_t)>& sample) {
  std::filesystem::create_directories(dir);
  for (uint64_t first = 0; first < count; first += 10) {
    ShardWriter writer(dir / shard_file_name(first / 10), "small");
    for (uint64_t i = first; i < std::min(first + 10, count); ++i) {
      const SmallSample s = sample(i);
      const std::vector<std::string_view> captions(s.captions.begin(), s.captions.end());
      writer.add({.id = 1000 + i,
                  .image = s.image,
                  .captions = captions,
                  .label = s.label,
                  .roles = s.roles,
                  .boxes = s.boxes});
    }
    writer.close();
  }
  build_index(dir);
  return std::make_shared<const Dataset>(Dataset::open(dir));
}

/// Sound images of every format, some larger and some smaller than what loaders are asked for.
inline std::vector<std::byte> sound_image(uint64_t i) {
  static const std::vector<std::string> names{"rgb.png",       "rgba.png",         "420.jpg",
                                              "lossless.webp", "progressive.jpg",  "palette.png",
                                              "cmyk.jpg",      "lossy_alpha.webp", "interlaced_3x2_rgb.png",
                                              "gray.jpg",      "rgb16.png"};
  return read_bytes(image_fixtures() / names[i % names.size()]);
}

/// A header that promises more rows than follow: found only by decoding.
inline std::vector<std::byte> broken_image() {
  return read_bytes(image_fixtures() / "broken" / "taller.png");
}

}  // namespace triptych::test
