#include "kernels/cross_entropy.h"

#include <algorithm>
#include <limits>

#include "kernel_support.h"

namespace triptych::test {
namespace {

using Doubles = std::vector<double>;
using Targets = std::vector<int32_t>;
using test::DeviceArray;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Oracle {
  double loss = 0;
  Doubles dlogits;
};

Oracle cross_entropy(const Doubles& logits, const Targets& targets, double coefficient, double smoothing = 0) {
  Oracle o;
  const std::size_t num_classes = targets.empty() ? 0 : logits.size() / targets.size();
  for (std::size_t row = 0; row < targets.size(); ++row) {
    const double* l = logits.data() + row * num_classes;
    const bool counts = targets[row] >= 0;
    const double max = *std::max_element(l, l + num_classes);
    double total = 0;
    for (std::size_t c = 0; c < num_classes; ++c) total += std::exp(l[c] - max);
    for (std::size_t c = 0; c < num_classes; ++c) {
      const double onehot = static_cast<int32_t>(c) == targets[row] ? 1 : 0;
      const double weight = (1 - smoothing) * onehot + smoothing / static_cast<double>(num_classes);
      if (counts && weight > 0) o.loss += coefficient * weight * (std::log(total) + max - l[c]);
      o.dlogits.push_back(counts ? coefficient * (std::exp(l[c] - max) / total - weight) : 0);
    }
  }
  return o;
}

/// Pseudo-random classes; every fifth row has none.
Targets make_targets(int64_t rows, int64_t num_classes) {
  Targets targets;
  for (int64_t r = 0; r < rows; ++r) {
    targets.push_back(static_cast<int32_t>(r % 5 == 3 ? -1 - r : (r * 7919 + num_classes - 1) % num_classes));
  }
  return targets;
}

template <typename T>
struct Result {
  double loss;
  std::vector<T> dlogits;
};

/// One rank's share: its slice of the logits and what it says of the rows.
template <typename T>
struct Share {
  Share(Device& device, const std::vector<T>& logits, const DeviceArray<int32_t>& device_targets, int64_t rows,
        int64_t num_classes, int64_t class_begin, int64_t cols, bool smooth = false)
      : slice_logits(device, columns(logits, num_classes, class_begin, cols)),
        maximum(device, rows),
        target_logit(device, rows),
        others(device, rows),
        below(device, rows),
        slice{.logits = slice_logits.data(),
              .targets = device_targets.data(),
              .rows = rows,
              .cols = cols,
              .class_begin = class_begin,
              .dtype = dtype_of<T>},
        said{maximum.data(), target_logit.data(), others.data(), smooth ? below.data() : nullptr} {
    cross_entropy_rows(device.stream(), slice, said);
  }

  static std::vector<T> columns(const std::vector<T>& whole, int64_t num_classes, int64_t begin, int64_t count) {
    std::vector<T> result;
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const int64_t c = static_cast<int64_t>(i) % num_classes;
      if (c >= begin && c < begin + count) result.push_back(whole[i]);
    }
    return result;
  }

  DeviceArray<T> slice_logits;
  DeviceArray<float> maximum, target_logit, others, below;
  CrossEntropySlice slice;
  CrossEntropyRows said;
};

std::vector<float> larger(std::vector<float> a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] = std::max(a[i], b[i]);
  return a;
}

std::vector<float> sum(std::vector<float> a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

/// Loss and gradient, of the logits in slices of the given widths. The loss is added to `before`; dlogits take the
/// logits' place.
template <typename T>
Result<T> run(Device& device, const std::vector<T>& logits, const Targets& targets, const std::vector<int64_t>& widths,
              double coefficient, double smoothing = 0.0, double dloss = 1.0, double before = 0.0) {
  Stream& stream = device.stream();
  const auto rows = static_cast<int64_t>(targets.size());
  int64_t num_classes = 0;
  for (const int64_t width : widths) num_classes += width;
  const DeviceArray<int32_t> device_targets(device, targets);
  std::vector<Share<T>> shares;
  int64_t begin = 0;
  for (const int64_t width : widths) {
    shares.emplace_back(device, logits, device_targets, rows, num_classes, begin, width, smoothing > 0);
    begin += width;
  }
  // What the ranks' all-reduces do.
  std::vector<float> maximum = shares[0].maximum.host(), target_logit = shares[0].target_logit.host();
  for (const Share<T>& share : shares) {
    maximum = larger(maximum, share.maximum.host());
    target_logit = larger(target_logit, share.target_logit.host());
  }
  DeviceArray<float> all_maximum(device, maximum), all_target_logit(device, target_logit);
  std::vector<float> others(targets.size()), below(targets.size());
  for (Share<T>& share : shares) {
    if (shares.size() > 1) cross_entropy_rescale(stream, share.slice, share.said, all_maximum.data());
    others = sum(others, share.others.host());
    if (smoothing > 0) below = sum(below, share.below.host());
  }
  DeviceArray<float> all_others(device, others), all_below(device, below);
  const CrossEntropyRows all{all_maximum.data(), all_target_logit.data(), all_others.data(),
                             smoothing > 0 ? all_below.data() : nullptr};
  const LabelSmoothing smoothed{.amount = smoothing, .num_classes = num_classes};

  DeviceArray<double> loss(device, Doubles{before});
  const DeviceArray<double> device_dloss(device, Doubles{dloss});
  cross_entropy_loss(stream, device_targets.data(), all, rows, coefficient, loss.data(), smoothed);
  Result<T> result{loss.host()[0] - before, std::vector<T>(logits.size())};
  begin = 0;
  for (Share<T>& share : shares) {
    cross_entropy_backward(stream, share.slice, all, coefficient, device_dloss.data(), share.slice_logits.data(),
                           smoothed);
    const std::vector<T> piece = share.slice_logits.host();
    for (std::size_t i = 0; i < piece.size(); ++i) {
      const auto r = static_cast<int64_t>(i) / share.slice.cols, c = static_cast<int64_t>(i) % share.slice.cols;
      result.dlogits[static_cast<std::size_t>(r * num_classes + begin + c)] = piece[i];
    }
    begin += share.slice.cols;
  }
  return result;
}

/// The targets' gradients are by far the largest, so they and the others are compared apart.
template <typename T>
void expect_gradient(const std::vector<T>& actual, const Doubles& expected, const Targets& targets) {
  std::vector<T> own, other;
  Doubles own_expected, other_expected;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const std::size_t num_classes = expected.size() / targets.size();
    const bool is_own = targets[i / num_classes] == static_cast<int32_t>(i % num_classes);
    (is_own ? own : other).push_back(actual[i]);
    (is_own ? own_expected : other_expected).push_back(expected[i]);
  }
  const double limit = test::tolerance(dtype_of<T>).summed;
  test::expect_close(own, own_expected, limit, "targets' gradients");
  test::expect_close(other, other_expected, limit, "other gradients");
}

void expect_loss(double actual, double expected, double magnitude) {
  EXPECT_LE(std::abs(actual - expected), test::tolerance(DType::kFloat32).scalar * magnitude) << "loss";
}

// So large that float16's gradients keep their digits.
constexpr double kCoefficient = 0.37, kGradient = 512.0, kSmoothing = 0.15;

template <typename T>
void expect_agreement(Device& device, const std::vector<T>& logits, const Targets& targets,
                      const std::vector<int64_t>& widths, double smoothing = 0.0) {
  const Oracle expected = cross_entropy(test::to_doubles(logits), targets, kCoefficient, smoothing);
  Doubles scaled = expected.dlogits;
  for (double& d : scaled) d *= kGradient;
  const double before = 2.5 * kCoefficient;
  const Result<T> actual = run(device, logits, targets, widths, kCoefficient, smoothing, kGradient, before);
  expect_loss(actual.loss, expected.loss, expected.loss + before);
  expect_gradient(actual.dlogits, scaled, targets);
}

TEST(CrossEntropy, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, num_classes] : std::vector<std::pair<int64_t, int64_t>>{
             {0, 5}, {1, 1}, {1, 7}, {7, 2}, {5, 64}, {13, 257}, {257, 1000}, {3, 9973}, {1100, 3}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << num_classes);
      expect_agreement(device, test::normals<T>(rows * num_classes, "logits", 0.5, 3.0),
                       make_targets(rows, num_classes), {num_classes});
    }
  });
}

TEST(CrossEntropy, SmoothedLabelsAgreeWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, num_classes] :
         std::vector<std::pair<int64_t, int64_t>>{{0, 5}, {1, 1}, {1, 7}, {7, 2}, {13, 257}, {3, 9973}, {1100, 3}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << num_classes);
      expect_agreement(device, test::normals<T>(rows * num_classes, "logits", 0.5, 3.0),
                       make_targets(rows, num_classes), {num_classes}, kSmoothing);
    }
  });
}

TEST(CrossEntropy, SlicesOfTheClassesGiveTheWhole) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const std::vector<int64_t>& widths :
         std::vector<std::vector<int64_t>>{{128, 129}, {100, 0, 157}, {1, 255, 1}, {257, 0}}) {
      SCOPED_TRACE(testing::PrintToString(widths));
      for (const double smoothing : {0.0, kSmoothing}) {
        expect_agreement(device, test::normals<T>(33 * 257, "logits", 0.5, 3.0), make_targets(33, 257), widths,
                         smoothing);
      }
    }
  });
}

TEST(CrossEntropy, LargeLogitsAreAsExactAsSmallOnes) {
  struct Row {
    const char* what;
    int32_t target;
    std::vector<float> logits;
  };
  const std::vector<Row> rows{{"one of two maxima", 0, {1e4f, -1e4f, 9000.0f, 1e4f, 9.0f}},
                              {"all small and equal", 4, {-1e4f, -1e4f, -1e4f, -1e4f, -1e4f}},
                              {"far below the maximum", 1, {1e4f, -1e4f, 0.0f, 5.0f, 1e4f}},
                              {"near the maximum", 2, {1e4f, 9984.0f, 9992.0f, -1e4f, 9996.0f}},
                              {"small, and certain", 0, {-9984.0f, -1e4f, -1e4f, -1e4f, -1e4f}},
                              {"classes ruled out", 3, {1.0f, 2.0f, -kInfinity, 3.0f, -kInfinity}}};
  test::for_cases([&]<typename T>(Device& device, T) {
    for (const Row& row : rows) {
      for (const std::vector<int64_t>& widths : std::vector<std::vector<int64_t>>{{5}, {2, 3}, {1, 1, 1, 1, 1}}) {
        SCOPED_TRACE(testing::Message() << row.what << " in slices of " << testing::PrintToString(widths));
        std::vector<T> logits;
        for (const float logit : row.logits) logits.push_back(T(logit));
        expect_agreement(device, logits, {row.target}, widths);
        const bool ruled_out = std::find(row.logits.begin(), row.logits.end(), -kInfinity) != row.logits.end();
        if (!ruled_out) expect_agreement(device, logits, {row.target}, widths, kSmoothing);
      }
    }
  });
}

/// The loss and 1 - softmax are tiny where the target is far above the others, and still right in every digit.
TEST(CrossEntropy, KeepsPrecisionWhenTheTargetIsCertain) {
  test::for_devices([](Device& device) {
    const std::vector<float> logits{-2.0f, -3.0f, 20.0f, 0.5f, -1.0f};
    double others = 0;
    for (const float l : {-2.0, -3.0, 0.5, -1.0}) others += std::exp(l - 20.0);
    for (const std::vector<int64_t>& widths : std::vector<std::vector<int64_t>>{{5}, {2, 3}, {3, 2}}) {
      const Result<float> actual = run(device, logits, {2}, widths, 1.0);
      const double limit = test::tolerance(DType::kFloat32).summed;
      EXPECT_LE(test::relative_error(Doubles{actual.loss}, Doubles{std::log1p(others)}), limit);
      EXPECT_LE(test::relative_error(Doubles{actual.dlogits[2]}, Doubles{-others / (1 + others)}), limit);
    }
  });
}

/// A row without a target counts for nothing, whatever its logits are; in all others a logit that is no number shows.
TEST(CrossEntropy, RowsWithoutTargetCountForNothing) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const float bad : {std::nanf(""), kInfinity}) {
      for (const std::vector<int64_t>& widths : std::vector<std::vector<int64_t>>{{11}, {4, 7}}) {
        std::vector<T> logits = test::normals<T>(2 * 11, "logits");
        for (std::size_t c = 0; c < 11; ++c) logits[c] = T(bad);
        for (const double smoothing : {0.0, kSmoothing}) {
          const Result<T> without = run(device, logits, {-7, 3}, widths, kCoefficient, smoothing);
          EXPECT_TRUE(std::isfinite(without.loss));
          for (std::size_t c = 0; c < 11; ++c) EXPECT_EQ(static_cast<float>(without.dlogits[c]), 0.0f);
          EXPECT_EQ(run(device, logits, {-7, -1}, widths, kCoefficient, smoothing).loss, 0.0);
        }
        const DeviceArray<int32_t> targets(device, Targets{-7, 3});
        const Share<T> unread(device, logits, targets, 2, 11, 0, 11, true);
        EXPECT_EQ(unread.maximum.host()[0], std::numeric_limits<float>::lowest());
        EXPECT_EQ(unread.target_logit.host()[0], -kInfinity);
        EXPECT_EQ(unread.others.host()[0], 0.0f);
        EXPECT_EQ(unread.below.host()[0], 0.0f);
        for (std::size_t c : {0, 3, 10}) {  // in the target's slice and in the other, before, at and behind it
          std::vector<T> one = test::normals<T>(2 * 11, "logits");
          one[c] = T(bad);
          for (const double smoothing : {0.0, kSmoothing}) {
            const Result<T> with = run(device, one, {3, 3}, widths, kCoefficient, smoothing);
            EXPECT_FALSE(std::isfinite(with.loss)) << bad << " at " << c;
            EXPECT_TRUE(std::isnan(static_cast<float>(with.dlogits[c]))) << bad << " at " << c;
          }
        }
      }
    }
  });
}

TEST(CrossEntropy, ATargetThatIsNoClassMakesTheLossInfinite) {
  test::for_devices([](Device& device) {
    const std::vector<float> logits = test::normals<float>(2 * 11, "logits");
    for (const std::vector<int64_t>& widths : std::vector<std::vector<int64_t>>{{11}, {4, 7}}) {
      for (const double smoothing : {0.0, kSmoothing}) {
        EXPECT_EQ(run(device, logits, {3, 11}, widths, kCoefficient, smoothing).loss,
                  std::numeric_limits<double>::infinity());
      }
    }
  });
}

/// Of a class that is ruled out, a smoothed label has some weight; the gradient is still that of the softmax.
TEST(CrossEntropy, AClassRuledOutMakesASmoothedLossInfinite) {
  test::for_devices([](Device& device) {
    const std::vector<float> logits{1.0f, 2.0f, -kInfinity, 3.0f, 0.5f};
    for (const std::vector<int64_t>& widths : std::vector<std::vector<int64_t>>{{5}, {2, 3}, {2, 1, 2}}) {
      const Result<float> result = run(device, logits, {3}, widths, kCoefficient, kSmoothing);
      EXPECT_EQ(result.loss, std::numeric_limits<double>::infinity());
      expect_gradient(result.dlogits, cross_entropy(test::to_doubles(logits), {3}, kCoefficient, kSmoothing).dlogits,
                      {3});
    }
  });
}

/// Rows that begin anywhere give the bits of those that begin at a vector's boundary, and dlogits those that they have
/// in the logits' place.
TEST(CrossEntropy, AlignmentChangesNothing) {
  test::for_cases([]<typename T>(Device& device, T) {
    const int64_t rows = 3, cols = 4096;
    const std::vector<T> logits = test::normals<T>(rows * cols, "logits");
    std::vector<T> shifted_logits(1);
    shifted_logits.insert(shifted_logits.end(), logits.begin(), logits.end());
    const DeviceArray<T> aligned(device, logits), shifted(device, shifted_logits);
    const DeviceArray<int32_t> targets(device, Targets{5, 4095, 0});
    const DeviceArray<double> dloss(device, Doubles{kGradient});
    std::vector<std::vector<float>> row_values;
    std::vector<std::vector<T>> gradients;
    for (const T* at : {aligned.data(), shifted.data() + 1}) {
      DeviceArray<float> maximum(device, rows), target_logit(device, rows), others(device, rows), below(device, rows);
      DeviceArray<T> dlogits(device, rows * cols);
      const CrossEntropySlice slice{
          .logits = at, .targets = targets.data(), .rows = rows, .cols = cols, .dtype = dtype_of<T>};
      const CrossEntropyRows all{maximum.data(), target_logit.data(), others.data(), below.data()};
      cross_entropy_rows(device.stream(), slice, all);
      cross_entropy_backward(device.stream(), slice, all, kCoefficient, dloss.data(), dlogits.data(),
                             {.amount = kSmoothing, .num_classes = cols});
      for (const auto* values : {&maximum, &target_logit, &others, &below}) row_values.push_back(values->host());
      gradients.push_back(dlogits.host());
    }
    for (std::size_t i : {0, 1, 2, 3}) EXPECT_TRUE(test::same_bits(row_values[i], row_values[i + 4]));
    EXPECT_TRUE(test::same_bits(gradients[0], gradients[1]));
    EXPECT_TRUE(test::same_bits(
        gradients[0], run(device, logits, {5, 4095, 0}, {cols}, kCoefficient, kSmoothing, kGradient).dlogits));
  });
}

TEST(CrossEntropy, IsDeterministicWhateverTheThreads) {
  const std::vector<float> logits = test::normals<float>(67 * 2003, "logits");
  const Targets targets = make_targets(67, 2003);
  std::vector<Result<float>> results;
  for (const int threads : test::thread_counts()) {
    for (int time = 0; time < 2; ++time) {
      Device device(threads);
      results.push_back(run(device, logits, targets, {2003}, kCoefficient, kSmoothing));
      EXPECT_EQ(results.back().loss, results[0].loss);
      EXPECT_TRUE(test::same_bits(results.back().dlogits, results[0].dlogits));
    }
  }
}

TEST(CrossEntropy, OracleGradientIsTheDerivative) {
  const Doubles logits = test::to_doubles(test::normals<float>(4 * 5, "logits"));
  const Targets targets{4, -1, 0, 2};
  for (const double smoothing : {0.0, kSmoothing}) {
    const Doubles numeric = test::central_differences(
        [&](const Doubles& at) { return cross_entropy(at, targets, 0.7, smoothing).loss; }, logits);
    EXPECT_LE(test::relative_error(cross_entropy(logits, targets, 0.7, smoothing).dlogits, numeric),
              test::kDifferenceError);
  }
}

}  // namespace
}  // namespace triptych::test
