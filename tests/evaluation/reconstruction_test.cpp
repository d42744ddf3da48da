#include "evaluation/reconstruction.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

// 2 x 2 pixels, each a patch of its own, whose values are its three colours.
constexpr PatchLayout kPixels{.size = 2, .patch = 1, .normalize = true};

// Of the colours r, g, b of a pixel, as CLIP's preprocessing has them, what remains without their mean and deviation.
std::vector<double> normalised(double r, double g, double b) {
  std::vector<double> x{(r / 255 - 0.48145466) / 0.26862954, (g / 255 - 0.4578275) / 0.26130258,
                        (b / 255 - 0.40821073) / 0.27577711};
  const double mean = (x[0] + x[1] + x[2]) / 3;
  double variance = 1e-6;
  for (const double value : x) variance += (value - mean) * (value - mean) / 2;
  for (double& value : x) value = (value - mean) / std::sqrt(variance);
  return x;
}

TEST(Reconstruction, AWorkedExample) {
  const std::vector<uint8_t> image{255, 0, 0, 10, 20, 30, 0, 0, 255, 7, 7, 7};
  const std::vector<double> red = normalised(255, 0, 0), blue = normalised(0, 0, 255);
  // Pixel 0 as it is, and pixel 2 beside the truth by 0.5, -1 and 2: (0.25 + 1 + 4) / 3 = 1.75. The others are seen.
  std::vector<float> given(12, 99);
  for (std::size_t i = 0; i < 3; ++i) given[i] = static_cast<float>(red[i]);
  for (std::size_t i = 0; i < 3; ++i) given[6 + i] = static_cast<float>(blue[i] + std::vector{0.5, -1.0, 2.0}[i]);
  ReconstructionCounter counter(kPixels);
  EXPECT_EQ(counter.error(), 0);
  EXPECT_NEAR(counter.add(image, given, std::vector<int32_t>{0, 2}), 1.75 / 2, 1e-5);
  EXPECT_NEAR(counter.error(), 1.75 / 2, 1e-5);
  EXPECT_EQ(counter.num_patches(), 2);
  // Three values whose variance with N - 1 is 1: the mean of their squares is 2/3. A pixel's mean colour is itself.
  EXPECT_NEAR(counter.error_of_means(), 2.0 / 3, 1e-5);
  EXPECT_NEAR(counter.error_of_colors(), 0, 1e-12);
  // Another image's patch, further by 1 in each value, and none of one without an image.
  for (std::size_t i = 0; i < 3; ++i) given[i] += 1;
  EXPECT_NEAR(counter.add(image, given, std::vector<int32_t>{0}), 1, 1e-5);
  EXPECT_EQ(counter.add(image, given, std::vector<int32_t>{-1, -1}), 0);
  EXPECT_NEAR(counter.error(), (0 + 1.75 + 1) / 3, 1e-5) << "the mean over patches";
  EXPECT_THROW(counter.add(std::vector<uint8_t>(3), given, std::vector<int32_t>{0}), InternalError);
}

TEST(Reconstruction, OfPixelsAsTheyAreIsInUnitsOfTheModelsInput) {
  const PatchLayout layout{.size = 2, .patch = 1, .normalize = false};
  const std::vector<uint8_t> image(12, 51);  // 0.2
  const std::vector<float> given(12, 0);
  ReconstructionCounter counter(layout);
  const double r = (0.2 - 0.48145466) / 0.26862954, g = (0.2 - 0.4578275) / 0.26130258,
               b = (0.2 - 0.40821073) / 0.27577711;
  EXPECT_NEAR(counter.add(image, given, std::vector<int32_t>{3}), (r * r + g * g + b * b) / 3, 1e-6);
}

// A patch of 2 x 2: what is seen stays, the rest is grey, or what the values say.
TEST(Reconstruction, PicturesShowWhatWasSeenAndWhatWasMade) {
  for (const bool normalize : {true, false}) {
    const PatchLayout layout{.size = 4, .patch = 2, .normalize = normalize};
    std::vector<uint8_t> image;
    for (std::size_t i = 0; i < 48; ++i) image.push_back(static_cast<uint8_t>(i * 5));
    const std::vector<int32_t> masked{1, -1};
    const std::vector<uint8_t> hidden = hide_patches(layout, image, masked);
    // Predicting the pixels of the same image, turned: the values of patch 1 in the model's order and units.
    std::vector<float> given(48, 99);
    std::vector<double> values;
    for (std::size_t c = 0; c < 3; ++c) {
      for (const std::size_t pixel : {2u, 3u, 6u, 7u}) {
        const std::vector<double> mean{0.48145466, 0.4578275, 0.40821073}, std{0.26862954, 0.26130258, 0.27577711};
        values.push_back((image[pixel * 3 + c] / 255.0 - mean[c]) / std[c]);
      }
    }
    double mean = 0, variance = 1e-6;
    for (const double x : values) mean += x / 12;
    for (const double x : values) variance += (x - mean) * (x - mean) / 11;
    for (std::size_t i = 0; i < 12; ++i) {
      given[12 + i] = static_cast<float>(normalize ? (values[i] - mean) / std::sqrt(variance) : values[i]);
    }
    const std::vector<uint8_t> painted = paint_patches(layout, image, given, masked);
    for (std::size_t pixel = 0; pixel < 16; ++pixel) {
      const bool is_masked = pixel == 2 || pixel == 3 || pixel == 6 || pixel == 7;
      for (std::size_t c = 0; c < 3; ++c) {
        EXPECT_EQ(hidden[pixel * 3 + c], is_masked ? 128 : image[pixel * 3 + c]);
        EXPECT_EQ(painted[pixel * 3 + c], image[pixel * 3 + c]) << "the true values give the image";
      }
    }
    for (std::size_t i = 12; i < 24; ++i) given[i] = i % 2 == 0 ? 1e6f : -1e6f;
    const std::vector<uint8_t> clamped = paint_patches(layout, image, given, masked);
    EXPECT_EQ(clamped[2 * 3], 255);
    EXPECT_EQ(clamped[3 * 3], 0);
  }
}

}  // namespace
}  // namespace triptych::test
