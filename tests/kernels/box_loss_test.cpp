#include "kernels/box_loss.h"

#include <cmath>

#include "base/bounding_box.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

constexpr double kL1 = 5, kGiou = 2;

// The same in double, out of the definitions in src/base.
double loss_of(const std::vector<double>& box, const std::vector<float>& truth, std::size_t row) {
  const CenterBox given{box[4 * row], box[4 * row + 1], box[4 * row + 2], box[4 * row + 3]};
  const BoundingBox wanted{truth[4 * row], truth[4 * row + 1], truth[4 * row + 2], truth[4 * row + 3]};
  const CenterBox center = to_center(wanted);
  return kL1 * (std::abs(given.x - center.x) + std::abs(given.y - center.y) + std::abs(given.width - center.width) +
                std::abs(given.height - center.height)) +
         kGiou * (1 - generalized_iou(to_corners(given), wanted));
}

struct Rows {
  std::vector<float> boxes, truths;
  std::vector<int32_t> present;
};

// Boxes that cross, lie in each other, or are apart; every fifth row has no truth, and numbers that would be seen.
Rows rows_of(int64_t count) {
  Rows rows;
  const std::vector<float> random = normals<float>(8 * count, "boxes");
  for (int64_t i = 0; i < count; ++i) {
    const auto at = [&](int64_t k) { return random[static_cast<std::size_t>(8 * i + k)]; };
    rows.boxes.insert(rows.boxes.end(), {0.5f + 0.2f * at(0), 0.5f + 0.2f * at(1), 0.1f + 0.3f * std::abs(at(2)),
                                         0.1f + 0.3f * std::abs(at(3))});
    const float left = 0.4f + 0.2f * at(4), top = 0.4f + 0.2f * at(5);
    rows.truths.insert(rows.truths.end(),
                       {left, top, left + 0.1f + 0.3f * std::abs(at(6)), top + 0.1f + 0.3f * std::abs(at(7))});
    rows.present.push_back(i % 5 == 3 ? -1 : static_cast<int32_t>(i % 7));
  }
  return rows;
}

TEST(BoxLoss, IsThatOfTheDefinitionsWithItsSlopes) {
  for_devices([](Device& device) {
    for (const int64_t count : {0, 1, 7, 301}) {
      SCOPED_TRACE(count);
      const Rows rows = rows_of(count);
      const std::vector<double> boxes = to_doubles(rows.boxes);
      const auto total = [&](const std::vector<double>& at) {
        double sum = 0;
        for (std::size_t i = 0; i < rows.present.size(); ++i) {
          if (rows.present[i] >= 0) sum += loss_of(at, rows.truths, i);
        }
        return sum;
      };
      const DeviceArray<float> given(device, rows.boxes), truths(device, rows.truths);
      const DeviceArray<int32_t> present(device, rows.present);
      DeviceArray<double> loss(device, std::vector<double>{3});  // added to
      DeviceArray<float> gradients(device, std::vector<float>(rows.boxes.size(), 77));
      box_loss(device.stream(), {.boxes = given.data(),
                                 .truths = truths.data(),
                                 .present = present.data(),
                                 .rows = count,
                                 .l1 = kL1,
                                 .giou = kGiou,
                                 .loss = loss.data(),
                                 .gradients = gradients.data()});
      EXPECT_NEAR(loss.host()[0], 3 + total(boxes), kBetweenDoubles * (3 + total(boxes)));
      std::vector<double> slopes;
      for (std::size_t i = 0; i < rows.present.size(); ++i) {
        std::vector<double> own(boxes.begin() + static_cast<std::ptrdiff_t>(4 * i),
                                boxes.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
        const std::vector<float> truth(rows.truths.begin() + static_cast<std::ptrdiff_t>(4 * i),
                                       rows.truths.begin() + static_cast<std::ptrdiff_t>(4 * i + 4));
        const bool counts = rows.present[i] >= 0;
        const std::vector<double> of_row = central_differences(
            [&](const std::vector<double>& at) { return counts ? loss_of(at, truth, 0) : 0.0; }, own);
        slopes.insert(slopes.end(), of_row.begin(), of_row.end());
      }
      expect_close(gradients.host(), slopes, tolerance(DType::kFloat32).local, "gradients");
    }
  });
}

// By hand. Two squares of side 2, one shifted by (1, 1): IoU 1/7, and of the 9 around both 2 that neither covers. Then
// a box that is its truth, and one without area on a truth without area, where 0 / 0 is 0.
TEST(BoxLoss, IsAsCountedByHand) {
  for_devices([](Device& device) {
    const auto run = [&](const std::vector<float>& box, const std::vector<float>& truth) {
      const DeviceArray<float> given(device, box), wanted(device, truth);
      const DeviceArray<int32_t> present(device, std::vector<int32_t>{0});
      DeviceArray<double> loss(device, std::vector<double>{0});
      DeviceArray<float> gradients(device, 4);
      box_loss(device.stream(), {.boxes = given.data(),
                                 .truths = wanted.data(),
                                 .present = present.data(),
                                 .rows = 1,
                                 .l1 = 1,
                                 .giou = 1,
                                 .loss = loss.data(),
                                 .gradients = gradients.data()});
      return std::pair(loss.host()[0], gradients.host());
    };
    EXPECT_NEAR(run({1, 1, 2, 2}, {1, 1, 3, 3}).first, 2 + 1 - (1.0 / 7 - 2.0 / 9), 1e-12);
    const auto [loss, gradient] = run({0.5f, 0.5f, 0.25f, 0.5f}, {0.375f, 0.25f, 0.625f, 0.75f});
    EXPECT_NEAR(loss, 0, 1e-12);
    for (const float slope : run({0.5f, 0.5f, 0, 0}, {0.5f, 0.5f, 0.5f, 0.5f}).second) EXPECT_EQ(slope, 0);
    EXPECT_EQ(run({0.5f, 0.5f, 0, 0}, {0.5f, 0.5f, 0.5f, 0.5f}).first, 1);
  });
}

}  // namespace
}  // namespace triptych::test
