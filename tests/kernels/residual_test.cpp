#include "kernels/residual.h"

#include <algorithm>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using test::expect_close;
using test::normals;
using test::tolerance;

/// 0 or 1 / (1 - p) for each element of a rank, and 0 or 1 / (1 - path_p) for its sample, from the definition.
std::vector<double> mask_of(const DropoutArgs& d) {
  std::vector<double> mask;
  for (int64_t b = 0; b < d.batch; ++b) {
    const bool skips = d.path_p > 0 && philox_uniform(d.path_key, static_cast<uint64_t>(d.batch_begin + b)) < d.path_p;
    const double of_sample = skips ? 0.0 : 1.0 / (1.0 - static_cast<double>(d.path_p));
    for (int64_t s = 0; s < d.seq; ++s) {
      for (int64_t c = 0; c < d.cols; ++c) {
        const int64_t i = ((d.batch_begin + b) * d.seq_total + d.seq_begin + s) * d.cols + c;
        const bool dropped = philox_uniform(d.key, static_cast<uint64_t>(i)) < d.p;
        mask.push_back(dropped ? 0.0 : of_sample / (1.0 - static_cast<double>(d.p)));
      }
    }
  }
  return mask;
}

const std::vector<DropoutArgs>& cases() {
  static const RandomKey key = random_key(3, "dropout", 41);
  // A key and an index beyond 32 bits too: 3e5 * 257 * 65537 = 5e12 elements.
  static const RandomKey wide{0xfedcba9876543210ull, 0x123456789abcdef0ull};
  static const RandomKey path_key = random_key(3, "drop_path", 41);
  static const std::vector<DropoutArgs> all{
      {0, 3, 5, 0, 0, 3, key, 0.1f},
      {1, 1, 1, 0, 0, 1, key, 0.5f},
      {2, 3, 7, 5, 2, 11, key, 0.3f},
      {3, 5, 65, 1, 0, 5, key, 0.1f},
      {5, 29, 257, 300000, 1000, 65537, wide, 0.25f},
      {2, 3, 2053, 0, 1, 9, key, 0.9f},
      {2, 3, 264, 0, 1, 9, key, 0.5f},
      {3, 5, 65, 1, 0, 5, key, 0.0f},
      {9, 3, 65, 300001, 0, 3, key, 0.0f, path_key, 0.4f},
      {9, 2, 264, 2, 1, 7, key, 0.3f, path_key, 0.5f},
  };
  return all;
}

template <typename T, typename Z>
void check_forward(Device& device, const DropoutArgs& d, bool with_bias) {
  const int64_t n = d.batch * d.seq * d.cols;
  const std::vector<T> x = normals<T>(n, "x");
  const std::vector<Z> z = normals<Z>(n, "z");
  const std::vector<float> bias = normals<float>(d.cols, "bias");
  std::vector<double> expected = mask_of(d);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    double branch = static_cast<double>(static_cast<float>(z[i]));
    if (with_bias) branch += static_cast<double>(bias[i % static_cast<std::size_t>(d.cols)]);
    expected[i] = static_cast<double>(static_cast<float>(x[i])) + expected[i] * branch;
  }
  DeviceArray<T> stream_x(device, x), out(device, n);
  DeviceArray<Z> branch(device, z);
  const DeviceArray<float> added(device, bias);
  ResidualForwardArgs args{
      stream_x.data(), branch.data(), with_bias ? added.data() : nullptr, out.data(), dtype_of<T>, dtype_of<Z>, d};
  residual_forward(device.stream(), args);
  expect_close(out.host(), expected, tolerance(dtype_of<T>).local, "out");
  args.out = stream_x.data();
  residual_forward(device.stream(), args);
  EXPECT_TRUE(test::same_bits(stream_x.host(), out.host())) << "out over x";
  if constexpr (std::is_same_v<T, Z>) {
    const DeviceArray<T> again(device, x);
    args.x = again.data();
    args.out = branch.data();
    residual_forward(device.stream(), args);
    EXPECT_TRUE(test::same_bits(branch.host(), out.host())) << "out over z";
  }
}

TEST(Residual, ForwardAgreesWithTheDefinition) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const DropoutArgs& d : cases()) {
      SCOPED_TRACE(testing::Message() << d.batch << " x " << d.seq << " x " << d.cols << ", p " << d.p << " and "
                                      << d.path_p);
      check_forward<T, float>(device, d, true);
      check_forward<T, BFloat16>(device, d, false);
      check_forward<T, T>(device, d, true);
      if constexpr (test::kHasFloat16) check_forward<T, Float16>(device, d, true);
    }
  });
}

TEST(Residual, BackwardAgreesWithTheDefinition) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const DropoutArgs& d : cases()) {
      SCOPED_TRACE(testing::Message() << d.batch << " x " << d.seq << " x " << d.cols << ", p " << d.p << " and "
                                      << d.path_p);
      const std::vector<T> dout = normals<T>(d.batch * d.seq * d.cols, "dout");
      std::vector<double> expected = mask_of(d);
      for (std::size_t i = 0; i < dout.size(); ++i) expected[i] *= static_cast<double>(static_cast<float>(dout[i]));
      const std::vector<float> old = normals<float>(d.cols, "old");
      const auto cols = static_cast<std::size_t>(d.cols);
      std::vector<double> dbias_expected = test::to_doubles(old), sums(cols);
      for (std::size_t i = 0; i < expected.size(); ++i) {
        dbias_expected[i % cols] += expected[i];
        sums[i % cols] += expected[i];
      }
      const DeviceArray<T> gradient(device, dout);
      DeviceArray<T> apart(device, std::vector<T>(dout.size(), T(99.0f))), over_dout(device, dout);
      DeviceArray<float> dbias(device, old);
      ResidualBackwardArgs args{gradient.data(), d.drops() ? apart.data() : nullptr, dbias.data(), dtype_of<T>, d};
      residual_backward(device.stream(), args);
      expect_close(dbias.host(), dbias_expected, tolerance(DType::kFloat32).summed, "dbias");
      DeviceArray<float> assigned(device, d.cols);
      args.dbias = {assigned.data(), true};
      residual_backward(device.stream(), args);
      expect_close(assigned.host(), sums, tolerance(DType::kFloat32).summed, "assigned dbias");
      if (!d.drops()) continue;
      const std::vector<T> dz = apart.host();
      expect_close(dz, expected, tolerance(dtype_of<T>).local, "dz");
      for (std::size_t i = 0; i < dz.size(); ++i) {
        ASSERT_EQ(static_cast<float>(dz[i]) == 0.0f, expected[i] == 0.0) << "mask at " << i;
      }
      args.dout = args.dz = over_dout.data();
      args.dbias = nullptr;
      residual_backward(device.stream(), args);
      EXPECT_TRUE(test::same_bits(over_dout.host(), dz)) << "dz over dout";
    }
  });
}

TEST(Residual, BackwardDoesNotDependOnThreads) {
  const DropoutArgs d{7, 83, 129, 0, 0, 83, random_key(1, "dropout", 2), 0.1f};
  const std::vector<float> dout = normals<float>(d.batch * d.seq * d.cols, "dout");
  std::vector<std::vector<float>> results;
  for (const int num_threads : test::thread_counts()) {
    Device device(num_threads);
    for (int repeated = 0; repeated < 2; ++repeated) {
      DeviceArray<float> gradient(device, dout), dbias(device, std::vector<float>(129));
      residual_backward(device.stream(), {gradient.data(), gradient.data(), dbias.data(), DType::kFloat32, d});
      results.push_back(dbias.host());
      EXPECT_TRUE(test::same_bits(results[0], results.back())) << num_threads;
    }
  }
}

/// A rank's piece of the batch and sequence has the very mask that the whole has there.
TEST(Residual, ShardsDrawTheSameMask) {
  const DropoutArgs whole{4, 6, 13, 0, 0, 6, random_key(1, "dropout", 2), 0.4f, random_key(5, "drop_path", 2), 0.5f};
  Device device(1);
  const DeviceArray<float> ones(device, std::vector<float>(4 * 6 * 13, 1.0f));
  DeviceArray<float> of_all(device, 4 * 6 * 13), of_piece(device, 2 * 3 * 13);
  residual_backward(device.stream(), {ones.data(), of_all.data(), nullptr, DType::kFloat32, whole});
  DropoutArgs part = whole;
  part.batch = part.batch_begin = 2;
  part.seq = part.seq_begin = 3;
  residual_backward(device.stream(), {ones.data(), of_piece.data(), nullptr, DType::kFloat32, part});
  const std::vector<float> all = of_all.host(), piece = of_piece.host();
  int num_skipped = 0;
  for (std::size_t b = 0; b < 4; ++b) {
    const auto begin = all.begin() + static_cast<std::ptrdiff_t>(b * 6 * 13);
    num_skipped += std::all_of(begin, begin + 6 * 13, [](float factor) { return factor == 0; });
  }
  EXPECT_GT(num_skipped, 0);
  EXPECT_LT(num_skipped, 4);
  for (std::size_t b = 0; b < 2; ++b) {
    for (std::size_t i = 0; i < 3 * 13; ++i) {
      EXPECT_EQ(piece[b * 3 * 13 + i], all[((b + 2) * 6 + 3) * 13 + i]);
    }
  }
}

TEST(Residual, RefusesWhatIsNoProbability) {
  Device device(1);
  float dz = 0;
  for (const float p : {-0.1f, 1.0f, std::nanf("")}) {
    EXPECT_THROW(residual_backward(device.stream(), {&dz, &dz, nullptr, DType::kFloat32, {0, 0, 0, 0, 0, 0, {}, p}}),
                 InternalError);
    EXPECT_THROW(
        residual_backward(device.stream(), {&dz, &dz, nullptr, DType::kFloat32, {0, 0, 0, 0, 0, 0, {}, 0, {}, p}}),
        InternalError);
  }
}

TEST(Residual, RefusesADzThatItWouldNotWrite) {
  Device device(1);
  const ResidualBackwardArgs none{nullptr, nullptr, nullptr, DType::kFloat32, {0, 0, 0, 0, 0, 0, {}, 0.5f}};
  EXPECT_THROW(residual_backward(device.stream(), none), InternalError);
}

}  // namespace
}  // namespace triptych::test
