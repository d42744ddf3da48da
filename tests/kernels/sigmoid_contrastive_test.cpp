#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "contrastive_cases.h"
#include "kernel_support.h"
#include "kernels/contrastive.h"

// Every row with every column a yes or no of its own: SigLIP's loss.

namespace triptych::test {
namespace {

Oracle sigmoid(const Doubles& dots, std::size_t cols, int64_t label_begin, double scale, double bias,
               double coefficient) {
  Oracle o;
  for (std::size_t i = 0; i < dots.size(); ++i) {
    const bool pair = static_cast<int64_t>(i % cols) == label_begin + static_cast<int64_t>(i / cols);
    const double y = pair ? 1 : -1, logit = scale * dots[i] + bias;
    o.sums.loss += coefficient *
                   (-y * logit > 0 ? -y * logit + std::log1p(std::exp(y * logit)) : std::log1p(std::exp(-y * logit)));
    const double d = -y / (1 + std::exp(y * logit));
    o.ddots.push_back(coefficient * scale * d);
    o.sums.dlog_scale += coefficient * scale * d * dots[i];
    o.sums.dlog_scale_magnitude += coefficient * scale * std::abs(d * dots[i]);
    o.sums.dbias += coefficient * d;
    o.sums.dbias_magnitude += coefficient * std::abs(d);
  }
  return o;
}

const std::vector<BlockCase> kCases{{0, 3, 0, 10},      {1, 1, 0, 10},       {1, 7, 6, 1},
                                    {7, 7, 0, 14.3f},   {5, 65, 3, 100},     {9, 33, 24, 5},
                                    {67, 257, 100, 30}, {7, 33, 5, 0.0001f}, {5, 9, 100, 10},  // without a pair
                                    {9, 17, -4, 10}};  // with pairs in some of the rows

/// What sigmoid_block leaves in place of the dots; `sums` are added to.
std::vector<float> run_sigmoid(Device& device, const BlockCase& c, const std::vector<float>& dots, double coefficient,
                               ContrastiveSums& sums, const Presence* presence = nullptr) {
  const DeviceArray<uint8_t> rows(device, presence == nullptr ? std::vector<uint8_t>() : presence->rows);
  const DeviceArray<uint8_t> cols(device, presence == nullptr ? std::vector<uint8_t>() : presence->cols);
  DeviceArray<float> device_dots(device, dots);
  Scalars scalars(device, c, coefficient, sums, presence);
  ContrastiveBlock block{.dots = device_dots.data(), .rows = c.rows, .cols = c.cols};
  block.first_row = std::max<int64_t>(0, -c.label_begin);
  block.first_col = c.label_begin + block.first_row;
  block.num_own = std::max<int64_t>(0, std::min(c.rows - block.first_row, c.cols - block.first_col));
  if (presence != nullptr) {
    block.row_present = rows.data();
    block.col_present = cols.data();
  }
  sigmoid_block(device.stream(), block, scalars.terms());
  sums = scalars.sums.host()[0];
  return device_dots.host();
}

TEST(Sigmoid, AgreesWithDoubleWithAndWithoutPairs) {
  test::for_devices([](Device& device) {
    for (const BlockCase& c : kCases) {
      SCOPED_TRACE(testing::Message() << c.rows << " x " << c.cols << " labels from " << c.label_begin);
      const std::vector<float> dots = make_dots(c);
      const double coefficient = 0.37 / 64;
      const Oracle expected = sigmoid(test::to_doubles(dots), static_cast<std::size_t>(c.cols), c.label_begin,
                                      exact_scale(c), -10.0, coefficient);
      const ContrastiveSums before{.loss = 2.5 * coefficient, .dbias = 0.25 * coefficient};
      ContrastiveSums sums = before;
      const std::vector<float> ddots = run_sigmoid(device, c, dots, coefficient, sums);
      expect_sums(sums, expected.sums, before);
      test::expect_close(ddots, expected.ddots, test::tolerance(DType::kFloat32).summed, "dots");
    }
  });
}

TEST(Sigmoid, LeavesOutWhatIsAbsent) {
  test::for_devices([](Device& device) {
    for (const BlockCase& c : kCases) {
      for (const bool any : {true, false}) {
        check_absent(
            c, any,
            [&](const std::vector<float>& dots, const Presence& presence, ContrastiveSums& sums) {
              return run_sigmoid(device, c, dots, 0.37, sums, &presence);
            },
            [&](const Reduced& reduced) {
              return sigmoid(reduced.dots, reduced.cols, reduced.label_begin, exact_scale(c), -10.0, 0.37 / 64);
            });
      }
    }
  });
}

/// Of one pair, or none, there is nothing to contrast.
TEST(Sigmoid, IsNothingOfFewerThanTwoPairs) {
  test::for_devices([](Device& device) {
    const BlockCase c = {5, 5, 0, 10};
    expect_nothing_of_fewer_than_two_pairs([&](const Presence& presence, ContrastiveSums& sums) {
      return run_sigmoid(device, c, make_dots(c), 0.5, sums, &presence);
    });
  });
}

/// The same bits whatever was there before, and however often.
TEST(Sigmoid, IsDeterministic) {
  test::for_devices([](Device& device) {
    const BlockCase c = {67, 67, 0, 30};
    ContrastiveSums first, second;
    EXPECT_TRUE(test::same_bits(run_sigmoid(device, c, make_dots(c), 0.5, first),
                                run_sigmoid(device, c, make_dots(c), 0.5, second)));
    EXPECT_EQ(std::memcmp(&first, &second, sizeof(first)), 0);
  });
}

TEST(Sigmoid, OracleGradientsAreTheDerivatives) {
  const Doubles dots = test::to_doubles(make_dots({3, 5, 1, 4.0f}));
  const Oracle sig = sigmoid(dots, 5, 1, 4.0, -1.5, 1.0);
  const auto close = [](const Doubles& actual, const Doubles& expected) {
    EXPECT_LE(test::relative_error(actual, expected), test::kDifferenceError);
  };
  close(sig.ddots,
        test::central_differences([](const Doubles& at) { return sigmoid(at, 5, 1, 4.0, -1.5, 1.0).sums.loss; }, dots));
  // The derivative by the logarithm of the scale, at its exponential.
  close({sig.sums.dlog_scale, sig.sums.dbias},
        test::central_differences(
            [&](const Doubles& at) { return sigmoid(dots, 5, 1, std::exp(at[0]), at[1], 1.0).sums.loss; },
            {std::log(4.0), -1.5}));
}

TEST(Sigmoid, RefusesPairsThatAreNotInTheBlock) {
  Device device(1);
  DeviceArray<float> values(device, std::vector<float>(40));
  DeviceArray<ContrastiveSums> sums(device, std::vector<ContrastiveSums>(1));
  float* const data = values.data();
  const ContrastiveTerms terms{.log_scale = data, .bias = data, .sums = sums.data()};
  for (const auto& [row, col] : {std::pair<int64_t, int64_t>{1, 0}, {-1, 0}, {0, 2}, {0, -1}}) {
    const ContrastiveBlock block{.dots = data, .rows = 2, .cols = 3, .first_row = row, .first_col = col, .num_own = 2};
    EXPECT_THROW(sigmoid_block(device.stream(), block, terms), InternalError);
  }
}
}  // namespace
}  // namespace triptych::test
