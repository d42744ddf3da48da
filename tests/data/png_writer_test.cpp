#include "data/png_writer.h"

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include <fmt/core.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::test {
namespace {

std::vector<uint8_t> noise(std::size_t num_bytes, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<uint8_t> bytes(num_bytes);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
  return bytes;
}

Image plain(uint32_t width, uint32_t height, uint8_t red, uint8_t green, uint8_t blue) {
  Image image{width, height, std::vector<uint8_t>(std::size_t{width} * height * 3)};
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    image.pixels[i] = red;
    image.pixels[i + 1] = green;
    image.pixels[i + 2] = blue;
  }
  return image;
}

TEST(PngWriter, AnotherLibraryReadsTheSamePixels) {
  std::string folder = (std::filesystem::temp_directory_path() / "triptych_png_XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  for (const auto& [width, height] : {std::pair{1u, 1u}, {7u, 3u}, {64u, 65u}}) {
    const std::vector<uint8_t> pixels = noise(std::size_t{width} * height * 3, width);
    const std::vector<std::byte> png = encode_png(width, height, pixels);
    std::ofstream(folder + "/a.png", std::ios::binary)
        .write(reinterpret_cast<const char*>(png.data()), static_cast<std::streamsize>(png.size()));
    const std::string script = fmt::format(
        "from PIL import Image; i = Image.open('{0}/a.png'); assert i.mode == 'RGB' and i.size == ({1}, {2}), i; "
        "open('{0}/a.rgb', 'wb').write(i.tobytes())",
        folder, width, height);
    ASSERT_EQ(std::system(fmt::format("/usr/bin/python3 -c \"{}\"", script).c_str()), 0);
    std::ifstream file(folder + "/a.rgb", std::ios::binary);
    const std::string read((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    EXPECT_EQ(std::vector<uint8_t>(read.begin(), read.end()), pixels) << width << " x " << height;
  }
  std::filesystem::remove_all(folder);
}

TEST(PngWriter, RefusesASizeThatIsNotThePixels) {
  EXPECT_THROW(encode_png(0, 1, {}), InternalError);
  EXPECT_THROW(encode_png(2, 2, noise(11, 1)), InternalError);
}

TEST(ContactSheet, PutsImagesInRowsOnWhite) {
  // Cells of 16 have a margin of 1, so images stand every 18 pixels. The second image is wide: its middle is green.
  Image wide = plain(30, 10, 0, 0, 255);
  for (uint32_t y = 0; y < 10; ++y) {
    for (uint32_t x = 10; x < 20; ++x) {
      wide.pixels[(y * 30 + x) * 3 + 1] = 255;
      wide.pixels[(y * 30 + x) * 3 + 2] = 0;
    }
  }
  const std::vector<Image> images{plain(16, 16, 255, 0, 0), wide, plain(3, 5, 9, 8, 7)};
  const Image sheet = contact_sheet(images, 2, 16);
  ASSERT_EQ(sheet.width, 36u);
  ASSERT_EQ(sheet.height, 36u);
  const auto pixel = [&](uint32_t x, uint32_t y) {
    const std::size_t at = (std::size_t{y} * sheet.width + x) * 3;
    return std::vector<int>{sheet.pixels[at], sheet.pixels[at + 1], sheet.pixels[at + 2]};
  };
  const std::vector<int> white{255, 255, 255}, red{255, 0, 0}, green{0, 255, 0}, dark{9, 8, 7};
  for (uint32_t y = 0; y < 36; ++y) {
    for (uint32_t x = 0; x < 36; ++x) {
      const bool margin = x % 18 == 0 || x % 18 == 17 || y % 18 == 0 || y % 18 == 17;
      const std::vector<int>& expected = margin ? white : y < 18 ? (x < 18 ? red : green) : (x < 18 ? dark : white);
      ASSERT_EQ(pixel(x, y), expected) << x << " " << y;
    }
  }
}

TEST(ContactSheet, TakesAnyNumberOfImages) {
  EXPECT_EQ(contact_sheet({}, 5, 32).width, 36u);
  const std::vector<Image> images(3, plain(2, 2, 1, 2, 3));
  EXPECT_EQ(contact_sheet(images, 5, 32).width, 3 * 36u);  // no empty columns
  EXPECT_EQ(contact_sheet(images, 1, 32).height, 3 * 36u);
  EXPECT_THROW(contact_sheet(images, 0, 32), InternalError);
  EXPECT_THROW(contact_sheet(images, 1, 1u << 31), InternalError);
}

}  // namespace
}  // namespace triptych::test
