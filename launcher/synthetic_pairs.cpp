#include "launcher/synthetic_pairs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include <jpeglib.h>

#include "base/error.h"
#include "base/philox.h"
#include "data/index_builder.h"
#include "data/png_writer.h"
#include "data/shard_format.h"
#include "data/shard_writer.h"

namespace triptych::launcher {
namespace {

constexpr int64_t kSamplesPerShard = 1024;

/// Waves of color under a disc, with a little noise.
std::vector<uint8_t> draw(uint32_t width, uint32_t height, RandomKey key) {
  std::array<float, 12> u{};
  for (uint64_t i = 0; i < u.size(); ++i) u[i] = philox_uniform(key, i);
  std::vector<uint8_t> rgb(std::size_t{3} * width * height);
  uint32_t noise = philox_word(key, u.size());
  const float center_x = u[0] * static_cast<float>(width), center_y = u[1] * static_cast<float>(height);
  const float radius = (0.1f + 0.3f * u[2]) * static_cast<float>(height);
  for (uint32_t y = 0; y < height; ++y) {
    for (uint32_t x = 0; x < width; ++x) {
      const float fx = static_cast<float>(x), fy = static_cast<float>(y);
      const bool in_disc = std::hypot(fx - center_x, fy - center_y) < radius;
      const std::size_t pixel = std::size_t{y} * width + x;
      noise = noise * 1664525u + 1013904223u;  // any noise will do
      for (std::size_t c = 0; c < 3; ++c) {
        const float wave = std::sin(fx * (0.02f + 0.1f * u[3 + c]) + fy * 0.1f * u[6 + c]);
        const float value = in_disc ? 255 * u[9 + c] : 128 + 100 * wave;
        rgb[3 * pixel + c] =
            static_cast<uint8_t>(std::clamp(value + static_cast<float>(noise >> (8 + 8 * c) & 7), 0.f, 255.f));
      }
    }
  }
  return rgb;
}

/// Eight words, as an English caption has about 50 letters.
std::string make_caption(RandomKey key) {
  static constexpr std::array<const char*, 24> kWords{"red",   "green", "blue",    "yellow", "violet", "grey",
                                                      "sun",   "ball",  "plate",   "button", "moon",   "wheel",
                                                      "with",  "under", "between", "and",    "of",     "before",
                                                      "waves", "a",     "drawing", "small",  "bright", "photograph"};
  std::string caption;
  for (uint64_t block = 0; block < 2; ++block) {
    for (const uint32_t word : philox4x32(key, ~block)) {
      if (!caption.empty()) caption += ' ';
      caption += kWords[word % kWords.size()];
    }
  }
  return caption;
}

std::vector<std::byte> encode_jpeg(uint32_t width, uint32_t height, std::span<uint8_t> rgb) {
  jpeg_compress_struct info{};
  jpeg_error_mgr errors{};
  info.err = jpeg_std_error(&errors);  // its errors end the program; only memory can run out here
  jpeg_create_compress(&info);
  unsigned char* memory = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &memory, &size);
  info.image_width = width;
  info.image_height = height;
  info.input_components = 3;
  info.in_color_space = JCS_RGB;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, 85, TRUE);
  jpeg_start_compress(&info, TRUE);
  while (info.next_scanline < height) {
    JSAMPROW row = rgb.data() + std::size_t{3} * info.next_scanline * width;
    jpeg_write_scanlines(&info, &row, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  const std::span<const std::byte> bytes = std::as_bytes(std::span(memory, size));
  std::vector<std::byte> result(bytes.begin(), bytes.end());
  std::free(memory);
  return result;
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "triptych_XXXXXX").string();
  if (::mkdtemp(name.data()) == nullptr) {
    throw WorldError(name,
                     fmt::format("no temporary folder can be made: {}. Set TMPDIR to a folder that can be written.",
                                 describe_errno(errno)));
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;  // nothing useful can be done about it here
  std::filesystem::remove_all(path_, ignored);
}

void write_synthetic_pairs(const std::filesystem::path& dir, int64_t num_samples, uint64_t seed) {
  std::filesystem::create_directories(dir);
  for (int64_t first = 0; first < num_samples; first += kSamplesPerShard) {
    ShardWriter writer(dir / shard_file_name(static_cast<uint64_t>(first / kSamplesPerShard)), "synthetic");
    for (int64_t i = first; i < std::min(first + kSamplesPerShard, num_samples); ++i) {
      const RandomKey key = random_key(seed, "synthetic pairs", static_cast<uint64_t>(i));
      const bool photograph = i % 2 == 0;
      const uint32_t width = photograph ? 256 : 96, height = photograph ? 192 : 96;
      std::vector<uint8_t> rgb = draw(width, height, key);
      const std::vector<std::byte> image =
          photograph ? encode_jpeg(width, height, rgb) : encode_png(width, height, rgb);
      const std::string caption = make_caption(key);
      const std::string_view view = caption;
      writer.add({.id = static_cast<uint64_t>(i), .image = image, .captions = std::span(&view, 1), .label = {}});
    }
    writer.close();
  }
  build_index(dir);
}

}  // namespace triptych::launcher
