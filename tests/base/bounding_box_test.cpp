#include "base/bounding_box.h"

#include <array>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

#include "support/reference.h"
#include "support/tolerance.h"

namespace triptych::test {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

BoundingBox box_of(const nlohmann::json& corners) {
  return {corners[0], corners[1], corners[2], corners[3]};
}

TEST(BoundingBox, OverlapsAsAnotherLibrarySays) {
  std::vector<double> iou, giou, expected_iou, expected_giou;
  const nlohmann::json reference = read_reference("boxes.json");
  for (const nlohmann::json& pair : reference.at("pairs")) {
    const BoundingBox a = box_of(pair["a"]), b = box_of(pair["b"]);
    iou.push_back(box_iou(a, b));
    giou.push_back(generalized_iou(a, b));
    EXPECT_EQ(iou.back(), box_iou(b, a));
    EXPECT_EQ(giou.back(), generalized_iou(b, a));
    expected_iou.push_back(pair["iou"]);
    expected_giou.push_back(pair["giou"]);
  }
  ASSERT_GE(iou.size(), 30u);
  EXPECT_LE(relative_error(iou, expected_iou), kBetweenDoubles);
  EXPECT_LE(relative_error(giou, expected_giou), kBetweenDoubles);
}

// By hand. Two squares of side 2, one shifted by (1, 1): they share 1 of 7, and the box around both, 9, has 2 that
// neither covers.
TEST(BoundingBox, OverlapsAsCountedByHand) {
  const BoundingBox a{0, 0, 2, 2}, b{1, 1, 3, 3};
  EXPECT_EQ(shared_area(a, b), 1);
  EXPECT_EQ(box_iou(a, b), 1.0 / 7);
  EXPECT_DOUBLE_EQ(generalized_iou(a, b), 1.0 / 7 - 2.0 / 9);
  // Far apart: 8 of the 2 * 1001 around both are covered.
  EXPECT_EQ(box_iou(a, {999, 0, 1001, 2}), 0);
  EXPECT_DOUBLE_EQ(generalized_iou(a, {999, 0, 1001, 2}), -(2002.0 - 8) / 2002);
}

TEST(BoundingBox, GoesToItsCenterAndBack) {
  EXPECT_EQ(to_corners({.x = 5, .y = 3, .width = 4, .height = 1}), (BoundingBox{3, 2.5, 7, 3.5}));
  EXPECT_EQ(to_center({3, 2.5, 7, 3.5}), (CenterBox{.x = 5, .y = 3, .width = 4, .height = 1}));
  const CenterBox odd{.x = -0.125, .y = 7, .width = 0, .height = 9.5};
  EXPECT_EQ(to_center(to_corners(odd)), odd);
  EXPECT_FALSE(is_proper(to_corners({.x = 5, .y = 3, .width = -4, .height = 1})));
}

TEST(BoundingBox, AnEmptyBoxOverlapsNothing) {
  const BoundingBox square{0, 0, 2, 2}, point{1, 1, 1, 1}, line{0, 1, 2, 1};
  EXPECT_TRUE(is_proper(point));
  EXPECT_EQ(box_iou(square, point), 0);
  EXPECT_EQ(box_iou(point, point), 0);
  EXPECT_EQ(generalized_iou(square, point), 0);  // nothing around both is uncovered
  EXPECT_EQ(generalized_iou(point, point), 0);
  EXPECT_EQ(generalized_iou(line, line), 0);
  EXPECT_EQ(generalized_iou(point, {2, 2, 2, 2}), -1);  // all around both is uncovered
}

TEST(BoundingBox, WhatIsNoBoxIsTheWorst) {
  const BoundingBox square{0, 0, 2, 2};
  std::vector<BoundingBox> hostile = {{2, 0, 0, 2}, {0, 2, 2, 0}, {2, 2, 0, 0}, {0, 0, 1e80, 1}, {-1e80, 0, 1, 1}};
  for (const double value : {kNan, kInfinity, -kInfinity}) {
    for (int place = 0; place < 4; ++place) {
      std::array<double, 4> corners{0, 0, 2, 2};
      corners[static_cast<std::size_t>(place)] = value;
      hostile.push_back({corners[0], corners[1], corners[2], corners[3]});
    }
  }
  for (const BoundingBox& box : hostile) {
    EXPECT_FALSE(is_proper(box)) << box.x0 << " " << box.y0 << " " << box.x1 << " " << box.y1;
    EXPECT_EQ(box_area(box), 0);
    for (const BoundingBox& other : {square, box}) {
      EXPECT_EQ(shared_area(box, other), 0);
      EXPECT_EQ(box_iou(other, box), 0);
      EXPECT_EQ(generalized_iou(box, other), -1);
      EXPECT_EQ(generalized_iou(other, box), -1);
    }
  }
  EXPECT_EQ(box_iou({-1e75, -1e75, 1e75, 1e75}, {-1e75, -1e75, 1e75, 1e75}), 1);
}

}  // namespace
}  // namespace triptych::test
