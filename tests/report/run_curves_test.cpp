#include "report/run_curves.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <gtest/gtest.h>

namespace triptych::test {
namespace {

const double kNaN = std::numeric_limits<double>::quiet_NaN();

TEST(CurveTest, OfFewPointsKeepsEach) {
  Curve curve;
  EXPECT_FALSE(curve.has_values());
  EXPECT_TRUE(std::isnan(curve.median()));
  EXPECT_TRUE(std::isnan(curve.largest()));
  for (const auto& [x, y] : {std::pair{1.0, 5.0}, {2.0, kNaN}, {3.0, 1.0}, {4.0, 9.0}}) curve.add(x, y);
  const std::vector<CurvePoint> outline = curve.outline(), means = curve.means();
  ASSERT_EQ(outline.size(), 4u);
  EXPECT_TRUE(std::isnan(outline[1].y)) << "a gap";
  EXPECT_EQ(outline[1].x, 2);
  ASSERT_EQ(means.size(), 3u);
  EXPECT_EQ(means[1].x, 3);
  EXPECT_EQ(curve.median(), 5);
  EXPECT_EQ(curve.largest(), 9);
  EXPECT_EQ(curve.last().y, 9);
}

TEST(CurveTest, OfManyPointsKeepsExtremesAndMeansInBoundedMemory) {
  constexpr int kNumPoints = 1'000'003;
  Curve curve;
  double sum = 0;
  for (int i = 1; i <= kNumPoints; ++i) {
    const double y = i == 777'777 ? 50.0 : i == 123'456 ? -50.0 : i % 1000 == 0 ? kNaN : std::sin(i * 0.001);
    if (std::isfinite(y)) sum += y;
    curve.add(i, y);
  }
  const std::vector<CurvePoint> outline = curve.outline();
  EXPECT_LE(outline.size(), 2 * Curve::kMaxGroups);
  EXPECT_GE(outline.size(), Curve::kMaxGroups / 2);
  for (std::size_t i = 1; i < outline.size(); ++i) ASSERT_LT(outline[i - 1].x, outline[i].x);
  const auto has = [&](double x, double y) {
    return std::any_of(outline.begin(), outline.end(), [&](const CurvePoint& p) { return p.x == x && p.y == y; });
  };
  EXPECT_TRUE(has(777'777, 50));
  EXPECT_TRUE(has(123'456, -50));
  EXPECT_EQ(curve.largest(), 50);
  // All groups but the last are of equally many points, so the means' mean is nearly that of all.
  double of_means = 0;
  const std::vector<CurvePoint> means = curve.means();
  for (const CurvePoint& point : means) of_means += point.y / static_cast<double>(means.size());
  EXPECT_NEAR(of_means, sum / kNumPoints, 2e-3);
  EXPECT_EQ(curve.last().x, kNumPoints);
}

TEST(RunCurvesTest, HaveACurveForEachNumberOfTheLines) {
  RunCurves curves;
  EXPECT_TRUE(curves.empty());
  for (int step = 11; step <= 20; ++step) {
    StepMetrics line;
    line.step = step;
    line.loss = 1.0 / step;
    line.step_ms = 500;
    line.time = 1000 + step;
    line.scalars = {{"temperature", 0.5}};
    if (step > 15) line.scalars.emplace_back("late", step);
    curves.add(line);
  }
  EXPECT_EQ(curves.find("loss")->outline().size(), 10u);
  EXPECT_EQ(curves.find("late")->outline().front().x, 16);
  EXPECT_EQ(curves.find("none"), nullptr);
  EXPECT_EQ(curves.elapsed().last().x, 20);
  EXPECT_EQ(curves.elapsed().last().y, 5) << "of ten steps of half a second";
  curves.add_held_out(0, "unseen", "loss", 3);
  curves.add_held_out(10, "unseen", "loss", 2);
  curves.add_held_out(10, "other", "loss", 1);
  ASSERT_EQ(curves.held_out().size(), 2u);
  EXPECT_EQ(curves.held_out()[0].curve.outline().size(), 2u);
}

}  // namespace
}  // namespace triptych::test
