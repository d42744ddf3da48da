#include "data/transforms.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "base/error.h"
#include "image_fixtures.h"

namespace triptych::test {
namespace {

using test::image_fixtures;
using test::read_bytes;

Image noise(uint32_t width, uint32_t height, unsigned seed) {
  Image image{width, height, {}};
  std::minstd_rand random(seed);
  for (uint32_t i = 0; i < 3 * width * height; ++i) image.pixels.push_back(static_cast<uint8_t>(random() >> 9));
  return image;
}

/// One output value from the definition: every pixel that the box touches, weighed by a triangle of the right width.
double reference_value(const Image& image, const Box& box, uint32_t size, uint32_t ox, uint32_t oy, uint32_t channel) {
  const auto weight = [size](double start, double length, uint32_t inputs, uint32_t out, uint32_t in) {
    if (in + 1 <= start || in >= start + length || in >= inputs) return 0.0;
    const double scale = length / size;
    return std::max(0.0, 1 - std::abs((in + 0.5 - start) / scale - (out + 0.5)) / std::max(1.0, 1 / scale));
  };
  double sum = 0, total = 0;
  for (uint32_t y = 0; y < image.height; ++y) {
    const double wy = weight(box.y, box.height, image.height, oy, y);
    if (wy == 0) continue;
    for (uint32_t x = 0; x < image.width; ++x) {
      const double w = wy * weight(box.x, box.width, image.width, ox, x);
      sum += w * image.pixels[(std::size_t{y} * image.width + x) * 3 + channel];
      total += w;
    }
  }
  return sum / total;
}

TEST(Resize, IsTheTriangleFilterOfItsDefinition) {
  Resizer resizer;
  for (const auto& [width, height, box, size] : {std::tuple{37u, 23u, Box{0, 0, 37, 23}, 16u},
                                                 {37u, 23u, Box{3.25, 1.5, 20.75, 17.125}, 8u},
                                                 {5u, 7u, Box{0.5, 0.25, 4.25, 6.5}, 13u},
                                                 {64u, 64u, Box{0, 0, 64, 64}, 64u},
                                                 {1u, 1u, Box{0, 0, 1, 1}, 3u},
                                                 {40u, 3u, Box{39.5, 2.5, 0.5, 0.5}, 2u},
                                                 {101u, 70u, Box{15.5, 0, 70, 70}, 1u}}) {
    const Image image = noise(width, height, width);
    std::vector<uint8_t> out(3 * size * size);
    resizer.resize(image, box, size, out);
    for (uint32_t y = 0; y < size; ++y) {
      for (uint32_t x = 0; x < size; ++x) {
        for (uint32_t c = 0; c < 3; ++c) {
          const double expected = reference_value(image, box, size, x, y, c);
          // Half a level for rounding, and what float32 leaves.
          EXPECT_NEAR(out[(y * size + x) * 3 + c], expected, 0.5001) << width << "x" << height << " to " << size;
        }
      }
    }
  }
}

TEST(Resize, KeepsAnImageOfTheSameSizeAndAConstantOne) {
  const Image image = noise(31, 31, 4);
  std::vector<uint8_t> out(31 * 31 * 3);
  Resizer resizer;
  resizer.resize(image, {0, 0, 31, 31}, 31, out);
  EXPECT_EQ(out, image.pixels);
  const Image white{50, 41, std::vector<uint8_t>(50 * 41 * 3, 255)};
  resizer.resize(white, {0.3, 0.7, 47.9, 39.1}, 31, out);
  EXPECT_EQ(out, std::vector<uint8_t>(out.size(), 255));
}

TEST(Resize, AgreesWithPillowWithinItsRounding) {
  std::ifstream in(image_fixtures() / "resize.txt");
  std::string source, expected_file;
  uint32_t width, height, x0, y0, x1, y1, size;
  int count = 0;
  Resizer resizer;
  while (in >> source >> width >> height >> x0 >> y0 >> x1 >> y1 >> size >> expected_file) {
    const std::vector<std::byte> pixels = read_bytes(image_fixtures() / source);
    const std::vector<std::byte> expected = read_bytes(image_fixtures() / expected_file);
    Image image{width, height, {}};
    for (const std::byte b : pixels) image.pixels.push_back(std::to_integer<uint8_t>(b));
    std::vector<uint8_t> out(3 * size * size);
    ASSERT_EQ(expected.size(), out.size());
    resizer.resize(image, {double(x0), double(y0), double(x1 - x0), double(y1 - y0)}, size, out);
    for (std::size_t i = 0; i < out.size(); ++i) {
      ASSERT_NEAR(out[i], std::to_integer<int>(expected[i]), 1) << expected_file << " at " << i;
    }
    ++count;
  }
  EXPECT_EQ(count, 6);
}

// Keys 1981 with a = -0.5, over all of the image, whatever the box.
double cubic_value(const Image& image, const Box& box, uint32_t size, uint32_t ox, uint32_t oy, uint32_t channel) {
  const auto weight = [size](double start, double length, uint32_t out, uint32_t in) {
    const double scale = length / size;
    const double x = std::abs(start + (out + 0.5) * scale - (in + 0.5)) / std::max(1.0, scale);
    if (x <= 1) return 1.5 * x * x * x - 2.5 * x * x + 1;
    return x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0.0;
  };
  double sum = 0, total = 0;
  for (uint32_t y = 0; y < image.height; ++y) {
    for (uint32_t x = 0; x < image.width; ++x) {
      const double w = weight(box.x, box.width, ox, x) * weight(box.y, box.height, oy, y);
      sum += w * image.pixels[(std::size_t{y} * image.width + x) * 3 + channel];
      total += w;
    }
  }
  return std::clamp(sum / total, 0.0, 255.0);
}

TEST(Resize, IsTheCubicFilterOfItsDefinition) {
  Resizer resizer;
  for (const auto& [width, height, box, size] : {std::tuple{37u, 23u, Box{0, 0, 37, 23}, 16u},
                                                 {37u, 23u, Box{7, 0, 23, 23}, 8u},
                                                 {5u, 7u, Box{0, 0, 5, 7}, 13u},
                                                 {31u, 31u, Box{0, 0, 31, 31}, 31u},
                                                 {1u, 1u, Box{0, 0, 1, 1}, 3u}}) {
    const Image image = noise(width, height, width);
    std::vector<uint8_t> out(3 * size * size);
    resizer.resize(image, box, size, out, PictureOptions::Filter::kCubic);
    for (uint32_t i = 0; i < out.size(); ++i) {
      const double expected = cubic_value(image, box, size, i / 3 % size, i / 3 / size, i % 3);
      EXPECT_NEAR(out[i], expected, 0.5001) << width << "x" << height << " to " << size;
    }
  }
}

// Image.resize((6, 6), Image.BICUBIC) of Pillow 13, which rounds between its two passes.
TEST(Resize, AgreesWithPillowsBicubic) {
  constexpr uint8_t kExpected[] = {
      178, 190, 104, 126, 178, 155, 112, 146, 131, 108, 136, 137, 93,  132, 140, 107, 116, 160, 162, 135, 148, 154,
      82,  126, 136, 124, 77,  100, 121, 141, 127, 88,  160, 135, 96,  163, 104, 126, 105, 118, 107, 130, 75,  153,
      103, 129, 87,  124, 147, 119, 88,  166, 158, 116, 113, 163, 133, 138, 140, 126, 118, 166, 138, 144, 128, 100,
      112, 156, 84,  104, 121, 100, 125, 137, 171, 101, 103, 111, 133, 177, 140, 135, 149, 133, 149, 130, 142, 129,
      89,  99,  136, 137, 92,  132, 132, 112, 86,  148, 110, 159, 162, 140, 157, 98,  124, 154, 118, 135};
  const Image image = noise(17, 11, 5);
  std::vector<uint8_t> out(3 * 6 * 6);
  Resizer().resize(image, evaluation_box({.fit = PictureOptions::Fit::kStretch}, 17, 11), 6, out,
                   PictureOptions::Filter::kCubic);
  for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], kExpected[i], 1) << i;
}

TEST(EvaluationBox, IsTheMiddleOrAllOfThePicture) {
  const Box middle = evaluation_box({}, 101, 70), all = evaluation_box({.fit = PictureOptions::Fit::kStretch}, 101, 70);
  EXPECT_EQ(middle.width, 70);
  EXPECT_EQ(middle.x, 15.5);
  EXPECT_EQ(all.width, 101);
  EXPECT_EQ(all.height, 70);
  EXPECT_EQ(all.x, 0);
}

TEST(Augmentation, IsAPureFunctionOfSeedAndPosition) {
  AugmentOptions options;
  options.color = options.brightness = options.contrast = options.saturation = options.hue = 0.5;
  const auto draw = [&](uint64_t seed, uint64_t position) {
    return draw_augmentation(options, seed, position, 90, 70);
  };
  const Augmentation a = draw(1, 2), b = draw(1, 2), c = draw(1, 3), d = draw(2, 2);
  EXPECT_EQ(a.crop.x, b.crop.x);
  EXPECT_EQ(a.hue_turns, b.hue_turns);
  EXPECT_NE(a.crop.x, c.crop.x);
  EXPECT_NE(a.crop.x, d.crop.x);
  EXPECT_NE(a.black[0], a.black[1]);
  // One option's strength does not change what the others draw.
  options.flip_probability = 1;
  options.hue = 0;
  const Augmentation e = draw(1, 2);
  EXPECT_EQ(e.crop.width, a.crop.width);
  EXPECT_EQ(e.brightness, a.brightness);
  EXPECT_EQ(e.hue_turns, 0);
}

TEST(Augmentation, StaysInItsRangesAndFillsThem) {
  AugmentOptions options;
  options.min_scale = 0.3;
  options.max_scale = 0.8;
  options.flip_probability = 0.25;
  options.brightness = 0.4;
  options.grayscale_probability = 0.5;
  int flips = 0, grays = 0;
  double low_scale = 1, high_scale = 0, low_ratio = 9, high_ratio = 0, low_x = 99, high_edge = 0, low_b = 2, high_b = 0;
  constexpr int kDraws = 4000;
  for (int i = 0; i < kDraws; ++i) {
    const Augmentation a = draw_augmentation(options, 5, static_cast<uint64_t>(i), 120, 100);
    ASSERT_GE(a.crop.x, 0);
    ASSERT_GE(a.crop.y, 0);
    ASSERT_LE(a.crop.x + a.crop.width, 120 + 1e-9);
    ASSERT_LE(a.crop.y + a.crop.height, 100 + 1e-9);
    const double scale = a.crop.width * a.crop.height / (120 * 100), ratio = a.crop.width / a.crop.height;
    low_scale = std::min(low_scale, scale);
    high_scale = std::max(high_scale, scale);
    low_ratio = std::min(low_ratio, ratio);
    high_ratio = std::max(high_ratio, ratio);
    low_x = std::min(low_x, a.crop.x);
    high_edge = std::max(high_edge, a.crop.x + a.crop.width);
    low_b = std::min<double>(low_b, a.brightness);
    high_b = std::max<double>(high_b, a.brightness);
    flips += a.flip;
    grays += a.grayscale;
  }
  EXPECT_GE(low_scale, 0.3 - 1e-9);
  EXPECT_LT(low_scale, 0.31);
  EXPECT_LE(high_scale, 0.8 + 1e-9);
  EXPECT_GT(high_scale, 0.78);
  EXPECT_GE(low_ratio, 0.75 - 1e-9);
  EXPECT_LT(low_ratio, 0.77);
  EXPECT_LE(high_ratio, 4.0 / 3 + 1e-9);
  EXPECT_GT(high_ratio, 1.3);
  EXPECT_LT(low_x, 1);
  EXPECT_GT(high_edge, 119);
  EXPECT_NEAR(low_b, 0.6, 0.01);
  EXPECT_NEAR(high_b, 1.4, 0.01);
  // Five standard deviations of a binomial.
  EXPECT_NEAR(flips, 0.25 * kDraws, 5 * std::sqrt(kDraws * 0.25 * 0.75));
  EXPECT_NEAR(grays, 0.5 * kDraws, 5 * std::sqrt(kDraws * 0.25));
}

TEST(Augmentation, DefaultsChangeTheCropAlone) {
  for (uint64_t i = 0; i < 500; ++i) {
    const Augmentation a = draw_augmentation({}, 1, i, 64, 64);
    EXPECT_FALSE(a.flip);
    EXPECT_FALSE(a.has_color);
    EXPECT_GE(a.crop.width * a.crop.height, 0.9 * 64 * 64 - 1e-6);
  }
}

TEST(Augmentation, CropsExtremeShapesInTheirMiddle) {
  const Augmentation wide = draw_augmentation({}, 1, 0, 1000, 10);
  EXPECT_NEAR(wide.crop.height, 10, 1e-9);
  EXPECT_NEAR(wide.crop.width, 40.0 / 3, 1e-9);
  EXPECT_NEAR(wide.crop.x, (1000 - 40.0 / 3) / 2, 1e-9);
  const Augmentation tiny = draw_augmentation({}, 1, 0, 1, 1);
  EXPECT_GT(tiny.crop.width, 0);
}

/// The steps one after another, from their definitions, in double and without clamping between them.
std::vector<double> reference_color(const Augmentation& a, const std::vector<uint8_t>& pixels) {
  std::vector<double> p(pixels.begin(), pixels.end());
  const std::size_t n = p.size() / 3;
  const auto luma = [&](std::size_t i) { return 0.299 * p[3 * i] + 0.587 * p[3 * i + 1] + 0.114 * p[3 * i + 2]; };
  for (double& v : p) v *= a.brightness;
  double mean = 0;
  for (std::size_t i = 0; i < n; ++i) mean += luma(i) / static_cast<double>(n);
  for (double& v : p) v = mean + (v - mean) * a.contrast;
  for (std::size_t i = 0; i < n; ++i) {
    const double gray = luma(i);
    for (std::size_t c = 0; c < 3; ++c)
      p[3 * i + c] = gray + (p[3 * i + c] - gray) * (a.grayscale ? 0.0 : a.saturation);
  }
  for (std::size_t i = 0; i < p.size(); ++i) {
    p[i] = a.black[i % 3] + p[i] / 255 * (a.white[i % 3] - a.black[i % 3]);
    if (a.invert) p[i] = 255 - p[i];
    p[i] = std::clamp(p[i], 0.0, 255.0);
  }
  return p;
}

TEST(Augmentation, AppliesTheColorStepsInOrder) {
  const Image image = noise(13, 13, 2);
  for (const bool grayscale : {false, true}) {
    for (const bool invert : {false, true}) {
      Augmentation a;
      a.has_color = true;
      a.brightness = 1.3f;
      a.contrast = 0.7f;
      a.saturation = 1.6f;
      a.grayscale = grayscale;
      a.invert = invert;
      a.black[1] = 40;
      a.white[2] = 200;
      std::vector<uint8_t> out = image.pixels;
      apply_augmentation(a, 13, out);
      const std::vector<double> expected = reference_color(a, image.pixels);
      for (std::size_t i = 0; i < out.size(); ++i) EXPECT_NEAR(out[i], expected[i], 0.501);
    }
  }
}

TEST(Augmentation, TurnsTheHueAndKeepsLuma) {
  const std::vector<uint8_t> pixels{150, 100, 100, 90, 120, 80, 128, 128, 128};  // of low chroma: nothing is clamped
  std::vector<uint8_t> square(27, 128);
  std::copy(pixels.begin(), pixels.end(), square.begin());
  Augmentation a;
  a.has_color = true;
  const auto luma = [](const uint8_t* p) { return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; };
  for (const float turns : {0.25f, 0.5f, -0.3f}) {
    a.hue_turns = turns;
    std::vector<uint8_t> out = square;
    apply_augmentation(a, 3, out);
    for (std::size_t i = 0; i < 27; i += 3) EXPECT_NEAR(luma(&out[i]), luma(&square[i]), 1.0);
    EXPECT_NE(out[0], square[0]);
    for (std::size_t i = 6; i < 27; ++i) EXPECT_NEAR(out[i], 128, 1);  // grey has no hue
  }
  a.hue_turns = 1;
  std::vector<uint8_t> out = square;
  apply_augmentation(a, 3, out);
  for (std::size_t i = 0; i < 27; ++i) EXPECT_NEAR(out[i], square[i], 1);
}

TEST(Augmentation, MirrorsLeftAndRight) {
  const Image image = noise(5, 5, 3);
  Augmentation a;
  a.flip = true;
  std::vector<uint8_t> out = image.pixels;
  apply_augmentation(a, 5, out);
  for (std::size_t y = 0; y < 5; ++y) {
    for (std::size_t x = 0; x < 5; ++x) {
      for (std::size_t c = 0; c < 3; ++c) EXPECT_EQ(out[(y * 5 + x) * 3 + c], image.pixels[(y * 5 + 4 - x) * 3 + c]);
    }
  }
}

TEST(Augmentation, ListsAllOptionsOutOfRange) {
  AugmentOptions options;
  options.min_scale = 0;
  options.hue = 2;
  options.flip_probability = std::nan("");
  try {
    check_augment_options(options);
    FAIL();
  } catch (const UserError& error) {
    const std::string text = error.what();
    for (const char* word : {"min_scale", "hue", "flip_probability"})
      EXPECT_NE(text.find(word), std::string::npos) << text;
  }
  check_augment_options({});
}

TEST(DecodeReduction, LeavesAtLeastTheTargetSize) {
  EXPECT_EQ(decode_reduction({0, 0, 64, 64}, 64), 1u);
  EXPECT_EQ(decode_reduction({0, 0, 127, 900}, 64), 1u);
  EXPECT_EQ(decode_reduction({0, 0, 128, 900}, 64), 2u);
  EXPECT_EQ(decode_reduction({0, 0, 300, 256}, 64), 4u);
  EXPECT_EQ(decode_reduction({0, 0, 9999, 5000}, 64), 8u);
  const Box box = center_square(101, 70);
  EXPECT_EQ(box.x, 15.5);
  EXPECT_EQ(box.width, 70);
  const Box scaled = scale_box(box, 101, 70, Image{51, 35, {}});
  EXPECT_NEAR(scaled.width, 70.0 * 51 / 101, 1e-12);
  EXPECT_NEAR(scaled.height, 35, 1e-12);
}

}  // namespace
}  // namespace triptych::test
