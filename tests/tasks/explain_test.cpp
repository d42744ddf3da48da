#include "tasks/explain.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "data/image_decoder.h"
#include "nn/parameter_store.h"
#include "support/one_rank.h"
#include "tasks/explanation_page.h"

namespace triptych::test {
namespace {

TEST(GateValues, AreThoseOfGatesOfOneNumber) {
  OneRank rank;
  const Plan plan = tensor_parallel_plan();
  ParameterStore store(rank.device, rank.mesh, plan, 3, DType::kFloat32);
  store.create("text.blocks.0.across.gate", Shape{1}, "replicated", {.mean = 0.25f});
  store.create("text.blocks.0.across.gate.weight", Shape{1}, "replicated", {.mean = 1});
  store.create("text.blocks.0.many.gate", Shape{2}, "replicated", {.mean = 1});
  store.create("text.blocks.1.across.gate", Shape{1}, "replicated", {.mean = -2});
  const std::vector<std::pair<std::string, double>> expected{{"text.blocks.0.across.gate", 0.25},
                                                             {"text.blocks.1.across.gate", -2}};
  EXPECT_EQ(gate_values(store.all()), expected);
}

// A grey picture under four patches of 0, the largest, half of it and below 0: six tenths of the scale's colours and
// four tenths of 100.
TEST(HeatPicture, LiesOverThePicturePatchByPatch) {
  Explanation explanation;
  explanation.side = 2;
  explanation.size = 4;
  explanation.pixels.assign(4 * 4 * 3, 100);
  const ReportPicture picture = heat_picture(explanation, {"rollout", {0, 4, 2, -3}}, 8);
  EXPECT_EQ(picture.description, "rollout");
  const Image image = decode_image(picture.png);
  ASSERT_EQ(image.width, 8u);
  ASSERT_EQ(image.height, 8u);
  const auto pixel = [&](std::size_t row, std::size_t column) {
    const auto begin = image.pixels.begin() + static_cast<std::ptrdiff_t>((row * 8 + column) * 3);
    return std::vector<int>(begin, begin + 3);
  };
  const std::vector<int> dark{40, 40, 52}, bright{193, 193, 142}, middle{154, 73, 88};
  for (const std::size_t row : {0, 3}) {
    EXPECT_EQ(pixel(row, 3), dark);
    EXPECT_EQ(pixel(row, 4), bright);
    EXPECT_EQ(pixel(row + 4, 0), middle);
    EXPECT_EQ(pixel(row + 4, 7), dark);
  }
}

}  // namespace
}  // namespace triptych::test
