#include "data/image_decoder.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "data/image_metadata.h"
#include "image_fixtures.h"

namespace triptych::test {
namespace {

using test::image_fixtures;
using test::read_bytes;

struct Case {
  std::string file, raw;
  uint32_t width, height;
  int tolerance;
  unsigned reduction;
};

std::vector<Case> cases() {
  std::ifstream in(image_fixtures() / "decode.txt");
  std::vector<Case> result;
  for (Case c; in >> c.file >> c.raw >> c.width >> c.height >> c.tolerance >> c.reduction;) result.push_back(c);
  return result;
}

TEST(ImageDecoder, GivesThePixelsThatPillowGives) {
  const std::vector<Case> all = cases();
  ASSERT_GE(all.size(), 30u);
  ImageDecoder decoder;
  Image image;  // used again, so that what an earlier image left behind would show
  for (const Case& c : all) {
    SCOPED_TRACE(c.file + " at 1/" + std::to_string(c.reduction));
    const std::vector<std::byte> encoded = read_bytes(image_fixtures() / c.file);
    const std::vector<std::byte> expected = read_bytes(image_fixtures() / c.raw);
    decoder.decode(encoded, c.reduction, image);
    ASSERT_EQ(image.width, c.width);
    ASSERT_EQ(image.height, c.height);
    ASSERT_EQ(image.pixels.size(), expected.size());
    int worst = 0;
    for (std::size_t i = 0; i < expected.size(); ++i) {
      worst = std::max(worst, std::abs(int{image.pixels[i]} - std::to_integer<int>(expected[i])));
    }
    EXPECT_LE(worst, c.tolerance);
    if (c.reduction == 1) {
      const ImageInfo info = probe_image(encoded);
      EXPECT_EQ(info.seen_width(), c.width);
      EXPECT_EQ(info.seen_height(), c.height);
      const std::string kind = c.file.substr(c.file.rfind('.') + 1);
      EXPECT_EQ(info.format, kind == "jpg"   ? ImageFormat::kJpeg
                             : kind == "png" ? ImageFormat::kPng
                                             : ImageFormat::kWebp);
    }
  }
}

TEST(ImageDecoder, TurnsWhatIsReducedToo) {
  ImageDecoder decoder;
  Image whole, small;
  const std::vector<std::byte> encoded = read_bytes(image_fixtures() / "oriented_6.jpg");
  decoder.decode(encoded, 1, whole);
  decoder.decode(encoded, 2, small);
  EXPECT_EQ(whole.width, 9u);  // stored 14 x 9
  EXPECT_EQ(whole.height, 14u);
  EXPECT_EQ(small.width, 5u);
  EXPECT_EQ(small.height, 7u);
}

TEST(ImageRemarks, TellWhatIsNotApplied) {
  std::ifstream in(image_fixtures() / "remarks.txt");
  int count = 0;
  for (std::string line; std::getline(in, line); ++count) {
    SCOPED_TRACE(line);
    const std::size_t space = std::min(line.find(' '), line.size());
    const std::string said = line.substr(std::min(space + 1, line.size()));
    const std::vector<std::string> remarks = image_remarks(read_bytes(image_fixtures() / line.substr(0, space)));
    ASSERT_EQ(remarks.size(), said.empty() ? 0u : 1u) << (remarks.empty() ? "" : remarks[0]);
    if (!said.empty()) {
      EXPECT_NE(remarks[0].find(said), std::string::npos) << remarks[0];
    }
  }
  EXPECT_EQ(count, 21);
  EXPECT_TRUE(image_remarks({}).empty());
}

TEST(ImageDecoder, RefusesLiesBombsAndForeignFiles) {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(image_fixtures() / "broken")) {
    SCOPED_TRACE(entry.path().filename().string());
    const std::vector<std::byte> encoded = read_bytes(entry.path());
    for (const unsigned reduction : {1u, 8u}) {
      Image image;
      EXPECT_THROW(ImageDecoder().decode(encoded, reduction, image), WorldError);
      EXPECT_LE(image.pixels.capacity(), std::size_t{4} << 20) << "memory for the size it claims";
    }
    ++count;
  }
  EXPECT_GE(count, 20);
}

TEST(ImageDecoder, FindsTheClaimedSizeTooLargeInTheHeader) {
  for (const char* name : {"bomb.png", "bomb.jpg", "empty_side.png", "negative.png", "animation.webp", "image.gif",
                           "text.png", "empty.png", "illegal_depth.png", "header_checksum.png"}) {
    EXPECT_THROW(probe_image(read_bytes(image_fixtures() / "broken" / name)), WorldError) << name;
  }
  try {
    probe_image(read_bytes(image_fixtures() / "broken" / "bomb.png"));
    FAIL();
  } catch (const WorldError& error) {
    EXPECT_NE(std::string(error.what()).find("100000 x 100000"), std::string::npos) << error.what();
  }
}

TEST(ImageDecoder, RefusesEveryTruncation) {
  for (const Case& c : cases()) {
    if (c.reduction != 1 || c.width > 64 || c.file.starts_with("slack_")) continue;
    if (c.file.ends_with(".webp") && c.file.starts_with("oriented_")) continue;  // the EXIF block comes last
    const std::vector<std::byte> encoded = read_bytes(image_fixtures() / c.file);
    ImageDecoder decoder;
    Image image;
    for (std::size_t size = 0; size < encoded.size(); size += 1 + encoded.size() / 97) {
      EXPECT_THROW(decoder.decode(std::span(encoded).first(size), 1, image), WorldError)
          << c.file << " cut to " << size;
    }
    EXPECT_THROW(decoder.decode(std::span(encoded).first(encoded.size() - 1), 1, image), WorldError) << c.file;
  }
}

TEST(ImageDecoder, SurvivesMutations) {
  std::minstd_rand random(1);
  int refused = 0, decoded = 0;
  for (const Case& c : cases()) {
    const std::vector<std::byte> encoded = read_bytes(image_fixtures() / c.file);
    ImageDecoder decoder;
    for (int trial = 0; trial < 40; ++trial) {
      std::vector<std::byte> mutated = encoded;
      for (int k = 0; k <= trial % 4; ++k) {
        // Mostly in the headers, where a wrong byte does most.
        const std::size_t range = trial % 2 == 0 ? std::min<std::size_t>(mutated.size(), 200) : mutated.size();
        mutated[random() % range] = static_cast<std::byte>(random() >> 8);
      }
      try {
        const ImageInfo info = probe_image(mutated);
        if (uint64_t{info.width} * info.height > 1 << 20) continue;  // legal, but slow under the sanitizers
        Image image;
        decoder.decode(mutated, c.reduction, image);
        EXPECT_EQ(image.pixels.size(), std::size_t{3} * image.width * image.height);
        ++decoded;
      } catch (const WorldError&) {
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 300);
  EXPECT_GT(decoded, 10);  // a byte of a comment or a color harms nobody
}

}  // namespace
}  // namespace triptych::test
