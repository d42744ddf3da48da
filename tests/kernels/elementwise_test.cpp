#include "kernels/elementwise.h"

#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;
using test::expect_close;
using test::normals;
using test::to_doubles;
using test::tolerance;

constexpr int64_t kSizes[] = {0, 1, 7, 65, 257, 40007};

TEST(Cast, RoundsToNearestEven) {
  test::for_devices([](Device& device) {
    // Every upper half with lower halves below, at and above the tie: both signs, subnormals, infinities, NaNs.
    std::vector<float> values;
    for (uint32_t upper = 0; upper < 0x10000; upper += 7) {
      for (const uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
        values.push_back(std::bit_cast<float>(upper << 16 | lower));
      }
    }
    const auto n = static_cast<int64_t>(values.size());
    const DeviceArray<float> from(device, values);
    DeviceArray<BFloat16> narrow(device, n);
    DeviceArray<float> wide(device, n);
    cast(device.stream(), from.data(), DType::kFloat32, narrow.data(), DType::kBFloat16, n);
    cast(device.stream(), narrow.data(), DType::kBFloat16, wide.data(), DType::kFloat32, n);
    const std::vector<BFloat16> narrow_host = narrow.host();
    const std::vector<float> wide_host = wide.host();
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (std::isnan(values[i])) {  // which NaN is the backend's to choose
        ASSERT_TRUE(std::isnan(static_cast<float>(narrow_host[i]))) << std::bit_cast<uint32_t>(values[i]);
      } else {
        ASSERT_EQ(narrow_host[i].bits, BFloat16(values[i]).bits) << std::bit_cast<uint32_t>(values[i]);
      }
      ASSERT_EQ(std::bit_cast<uint32_t>(wide_host[i]), uint32_t{narrow_host[i].bits} << 16);
    }
  });
}

/// The value of a binary16 by its definition.
double float16_value(uint16_t bits) {
  const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1.0 : 1.0;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::numeric_limits<double>::quiet_NaN();
  }
  return sign * (exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25));
}

/// All of them, and float32 values at and beside the middle of every two neighbours, which must go to the nearer one or
/// to the even one.
TEST(Cast, RoundsToFloat16) {
  test::for_devices([](Device& device) {
    std::vector<Float16> all(0x10000);
    for (std::size_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<uint16_t>(i);
    const DeviceArray<Float16> narrow(device, all);
    DeviceArray<float> wide(device, 0x10000);
    cast(device.stream(), narrow.data(), DType::kFloat16, wide.data(), DType::kFloat32, 0x10000);
    const std::vector<float> values = wide.host();
    std::vector<float> between;
    std::vector<uint16_t> expected;
    for (std::size_t i = 0; i < all.size(); ++i) {
      const double value = float16_value(all[i].bits);
      if (std::isnan(value)) {
        ASSERT_TRUE(std::isnan(values[i])) << i;
        continue;
      }
      ASSERT_EQ(static_cast<double>(values[i]), value) << i;
      const bool is_largest = (i & 0x7fff) == 0x7bff;
      if (std::isinf(value) || i % 3 != 0) continue;
      const double next = is_largest ? std::copysign(0x1p16, value) : float16_value(static_cast<uint16_t>(i + 1));
      const auto middle = static_cast<float>((value + next) / 2);
      const auto low = static_cast<uint16_t>(i), high = static_cast<uint16_t>(i + 1);
      between.insert(between.end(), {std::nextafter(middle, static_cast<float>(value)), middle,
                                     std::nextafter(middle, static_cast<float>(next))});
      expected.insert(expected.end(), {low, i % 2 == 0 ? low : high, high});
    }
    between.insert(between.end(), {1e6f, -1e6f, 0x1p-26f, -0.0f});
    expected.insert(expected.end(), {0x7c00, 0xfc00, 0, 0x8000});
    const auto n = static_cast<int64_t>(between.size());
    const DeviceArray<float> from(device, between);
    DeviceArray<Float16> rounded(device, n);
    cast(device.stream(), from.data(), DType::kFloat32, rounded.data(), DType::kFloat16, n);
    const std::vector<Float16> result = rounded.host();
    for (std::size_t i = 0; i < expected.size(); ++i) ASSERT_EQ(result[i].bits, expected[i]) << between[i];
  });
}

/// To a type that holds the values, from any other and back.
template <typename Wide, typename Narrow>
void check_cast_there_and_back(Device& device) {
  for (const int64_t n : kSizes) {
    const std::vector<Narrow> values = normals<Narrow>(n, "x");
    const DeviceArray<Narrow> from(device, values);
    DeviceArray<Wide> wide(device, n);
    DeviceArray<Narrow> back(device, n);
    cast(device.stream(), from.data(), dtype_of<Narrow>, wide.data(), dtype_of<Wide>, n);
    cast(device.stream(), wide.data(), dtype_of<Wide>, back.data(), dtype_of<Narrow>, n);
    std::vector<Wide> expected;
    for (const Narrow value : values) expected.push_back(Wide(static_cast<float>(value)));
    EXPECT_TRUE(test::same_bits(wide.host(), expected)) << n;
    const bool exact = sizeof(Wide) == 4 || std::is_same_v<Wide, Narrow>;
    EXPECT_TRUE(!exact || test::same_bits(back.host(), values)) << n;
  }
}

TEST(Cast, AnyToAny) {
  test::for_devices([](Device& device) {
    check_cast_there_and_back<float, float>(device);
    check_cast_there_and_back<float, BFloat16>(device);
    check_cast_there_and_back<float, Float16>(device);
    check_cast_there_and_back<BFloat16, BFloat16>(device);
    check_cast_there_and_back<BFloat16, Float16>(device);
    check_cast_there_and_back<Float16, Float16>(device);
  });
}

TEST(Elementwise, AgreesWithDouble) {
  test::for_cases([]<typename T>(Device& device, T) {
    // At an offset of one element nothing is aligned to vectors.
    for (const int64_t offset : {0, 1}) {
      for (const int64_t n : kSizes) {
        SCOPED_TRACE(testing::Message() << n << " elements from " << offset);
        const std::vector<T> a = normals<T>(n + offset, "a"), b = normals<T>(n + offset, "b");
        std::vector<double> sum = to_doubles(a);
        for (std::size_t i = static_cast<std::size_t>(offset); i < sum.size(); ++i) {
          sum[i] += static_cast<double>(static_cast<float>(b[i]));
        }
        DeviceArray<T> out(device, a);
        const DeviceArray<T> added(device, b);
        add_into(device.stream(), out.data() + offset, added.data() + offset, n, dtype_of<T>);
        expect_close(out.host(), sum, tolerance(dtype_of<T>).local, "add_into");
        std::vector<double> scaled = to_doubles(b);
        for (std::size_t i = static_cast<std::size_t>(offset); i < scaled.size(); ++i) scaled[i] *= -0.375;
        DeviceArray<T> in_place(device, b);
        scale(device.stream(), in_place.data() + offset, in_place.data() + offset, -0.375f, n, dtype_of<T>);
        expect_close(in_place.host(), scaled, tolerance(dtype_of<T>).local, "scale");
        fill(device.stream(), out.data() + offset, 1.5f, n, dtype_of<T>);
        std::vector<T> filled(a.size(), T(1.5f));
        if (offset == 1) filled[0] = a[0];
        EXPECT_TRUE(test::same_bits(out.host(), filled));
      }
    }
  });
}

TEST(Elementwise, FillHasFloat16) {
  test::for_devices([](Device& device) {
    DeviceArray<Float16> out(device, 77);
    fill(device.stream(), out.data(), 1.5f, 77, DType::kFloat16);
    EXPECT_TRUE(test::same_bits(out.host(), std::vector<Float16>(77, Float16(1.5f))));
  });
}

TEST(Elementwise, Float32AgreesWithDouble) {
  test::for_devices([](Device& device) {
    Stream& stream = device.stream();
    const std::vector<double> factors{-2.7, 1.0};
    const DeviceArray<double> factor(device, factors);
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(n);
      const std::vector<float> values = normals<float>(n, "values");
      std::vector<double> expected = to_doubles(values);
      for (double& value : expected) value *= -2.7;
      DeviceArray<float> scaled(device, values);
      scale_by(stream, scaled.data(), factor.data(), n);
      const std::vector<float> once = scaled.host();
      expect_close(once, expected, tolerance(DType::kFloat32).local, "scale_by");
      scale_by(stream, scaled.data(), factor.data() + 1, n);
      EXPECT_TRUE(test::same_bits(scaled.host(), once)) << "scale_by 1";
      DeviceArray<double> wide(device, n);
      widen(stream, DeviceArray<float>(device, values).data(), wide.data(), n);
      EXPECT_EQ(wide.host(), to_doubles(values));
    }
  });
}

TEST(Elementwise, AccumulatesDoublesWithOneRounding) {
  test::for_devices([](Device& device) {
    for (const int64_t n : {0, 1, 3, 300}) {
      const std::vector<float> old = normals<float>(n, "old");
      std::vector<double> src = to_doubles(normals<float>(n, "src"));
      for (double& value : src) value /= 3.0;  // no float32
      const std::vector<double> factor{0.7};
      std::vector<float> expected;
      for (std::size_t i = 0; i < old.size(); ++i) {
        const double product = src[i] * 0.7;
        expected.push_back(static_cast<float>(static_cast<double>(old[i]) + product));
      }
      DeviceArray<float> sum(device, old);
      accumulate_doubles(device.stream(), sum.data(), DeviceArray<double>(device, src).data(),
                         DeviceArray<double>(device, factor).data(), n);
      EXPECT_TRUE(test::same_bits(sum.host(), expected));
    }
  });
}

TEST(Elementwise, RefusesOtherTypes) {
  test::for_devices([](Device& device) {
    const std::string backend = device.kind() == "cpu" ? "CPU" : "CUDA";
    for (const DType dtype : {DType::kInt32, DType::kFloat64}) {
      try {
        add_into(device.stream(), nullptr, nullptr, 0, dtype);
        FAIL() << dtype_name(dtype);
      } catch (const InternalError& error) {
        EXPECT_EQ(error.what(),
                  "[add_into] has no " + backend + " implementation for " + std::string(dtype_name(dtype)));
      }
      EXPECT_THROW(cast(device.stream(), nullptr, DType::kFloat32, nullptr, dtype, 0), InternalError);
      EXPECT_THROW(cast(device.stream(), nullptr, dtype, nullptr, DType::kFloat16, 0), InternalError);
      EXPECT_THROW(fill(device.stream(), nullptr, 0.0f, 0, dtype), InternalError);
    }
    if constexpr (!test::kHasFloat16) {
      EXPECT_THROW(add_into(device.stream(), nullptr, nullptr, 0, DType::kFloat16), InternalError);
    }
  });
}

/// `rows` runs of bytes, from and to strides of both signs; what is between them stays as it is.
void check_copy_rows(Device& device, int64_t rows, int64_t row_bytes, int64_t src_stride, int64_t dst_stride) {
  SCOPED_TRACE(testing::Message() << row_bytes << " bytes, strides " << src_stride << " and " << dst_stride);
  const auto bytes = [&](int64_t stride) {
    return static_cast<std::size_t>((rows - 1) * std::abs(stride) + row_bytes);
  };
  const auto first = [&](int64_t stride) { return stride < 0 ? (rows - 1) * -stride : 0; };
  std::vector<uint8_t> src(bytes(src_stride));
  std::iota(src.begin(), src.end(), uint8_t{1});
  std::vector<uint8_t> expected(bytes(dst_stride), 0xee);
  const DeviceArray<uint8_t> from(device, src);
  DeviceArray<uint8_t> to(device, expected);
  for (int64_t r = 0; r < rows; ++r) {
    std::memcpy(expected.data() + first(dst_stride) + r * dst_stride, src.data() + first(src_stride) + r * src_stride,
                static_cast<std::size_t>(row_bytes));
  }
  copy_rows(device.stream(),
            {from.data() + first(src_stride), to.data() + first(dst_stride), rows, row_bytes, src_stride, dst_stride});
  EXPECT_EQ(to.host(), expected);
}

TEST(CopyRows, TakesStrides) {
  test::for_devices([](Device& device) {
    check_copy_rows(device, 301, 257, 331, 401);
    for (const int64_t unit : {1, 2, 4, 8, 16}) {  // of what addresses, strides and length are multiples
      check_copy_rows(device, 13, 17 * unit, 21 * unit, 19 * unit);
      check_copy_rows(device, 13, 17 * unit, 17 * unit, 17 * unit);
      check_copy_rows(device, 13, 5 * unit, 0, 5 * unit);
      check_copy_rows(device, 13, 5 * unit, -7 * unit, 6 * unit);
      check_copy_rows(device, 13, 5 * unit, 5 * unit, -5 * unit);
      check_copy_rows(device, 1, unit, unit, unit);
    }
    check_copy_rows(device, 3, 16 * 1031, 16 * 1033, 16 * 1031);
    copy_rows(device.stream(), {nullptr, nullptr, 0, 4, 4, 4});
    copy_rows(device.stream(), {nullptr, nullptr, 4, 0, 4, 4});
  });
}

TEST(SumRows, AgreesWithDoubleWhateverTheThreads) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [rows, cols, stride] : std::vector<std::array<int64_t, 3>>{{0, 3, 3},
                                                                                {1, 1, 1},
                                                                                {3, 7, 9},
                                                                                {65, 65, 65},
                                                                                {67, 1031, 1031},
                                                                                {130, 264, 272},
                                                                                {1003, 257, 300},
                                                                                {2051, 33, 33}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " stride " << stride);
      const std::vector<T> x = normals<T>(rows * stride, "x", 0.3);
      const std::vector<float> old = normals<float>(cols, "old");
      std::vector<double> expected = to_doubles(old), sums(old.size());
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const double value = static_cast<double>(static_cast<float>(x[static_cast<std::size_t>(r * stride + c)]));
          expected[static_cast<std::size_t>(c)] += value;
          sums[static_cast<std::size_t>(c)] += value;
        }
      }
      const auto sum_on = [&](Device& on) {
        DeviceArray<float> out(on, old);
        sum_rows(on.stream(), {DeviceArray<T>(on, x).data(), out.data(), rows, cols, stride, dtype_of<T>});
        return out.host();
      };
      const std::vector<float> out = sum_on(device);
      expect_close(out, expected, tolerance(DType::kFloat32).summed, "out");
      Device one_thread(1);
      EXPECT_TRUE(test::same_bits(out, sum_on(one_thread)));
      DeviceArray<float> assigned(device, cols);
      sum_rows(device.stream(),
               {DeviceArray<T>(device, x).data(), {assigned.data(), true}, rows, cols, stride, dtype_of<T>});
      expect_close(assigned.host(), sums, tolerance(DType::kFloat32).summed, "assigned");
    }
  });
}

/// Many times 1 + 2^-12 in float32, where one running sum would lose the small part a little each time.
TEST(SumRows, ManyRowsKeepTheirPrecision) {
  Device device(1);
  const int64_t rows = 100000;
  const std::vector<float> x(static_cast<std::size_t>(rows), 1.0f + 0x1p-12f);
  DeviceArray<float> out(device, std::vector<float>{0.0f});
  sum_rows(device.stream(), {DeviceArray<float>(device, x).data(), out.data(), rows, 1, 1, DType::kFloat32});
  const double expected = static_cast<double>(rows) * (1.0 + 0x1p-12);
  EXPECT_NEAR(static_cast<double>(out.host()[0]) / expected, 1.0, tolerance(DType::kFloat32).local);
}

TEST(SumRows, RefusesRowsThatOverlap) {
  Device device(1);
  EXPECT_THROW(sum_rows(device.stream(), {nullptr, nullptr, 0, 4, 3, DType::kFloat32}), InternalError);
}

TEST(Positions, AddAndSum) {
  test::for_cases([]<typename T>(Device& device, T) {
    for (const auto& [batch, seq, cols, gap] : std::vector<std::array<int64_t, 4>>{
             {0, 3, 5, 3}, {1, 1, 1, 3}, {3, 5, 7, 3}, {9, 17, 257, 3}, {5, 3, 264, 8}, {301, 2, 16, 0}}) {
      SCOPED_TRACE(testing::Message() << batch << " x " << seq << " x " << cols);
      const int64_t row_stride = cols + gap, batch_stride = row_stride * (seq + 2);
      const std::vector<T> x = normals<T>(batch * batch_stride, "x");
      const std::vector<float> pos = normals<float>(seq * cols, "pos");
      std::vector<double> added = to_doubles(x), summed = to_doubles(pos);
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t s = 0; s < seq; ++s) {
          for (int64_t c = 0; c < cols; ++c) {
            const auto i = static_cast<std::size_t>(b * batch_stride + s * row_stride + c);
            const auto j = static_cast<std::size_t>(s * cols + c);
            added[i] += static_cast<double>(pos[j]);
            summed[j] += static_cast<double>(static_cast<float>(x[i]));
          }
        }
      }
      const DeviceArray<T> from(device, x);
      DeviceArray<float> positions(device, pos);
      DeviceArray<T> out(device, x);
      add_positions(device.stream(),
                    {out.data(), positions.data(), batch, seq, cols, batch_stride, row_stride, dtype_of<T>});
      expect_close(out.host(), added, tolerance(dtype_of<T>).local, "add_positions");
      sum_positions(device.stream(),
                    {from.data(), positions.data(), batch, seq, cols, batch_stride, row_stride, dtype_of<T>});
      expect_close(positions.host(), summed, tolerance(DType::kFloat32).summed, "sum_positions");
    }
  });
}

}  // namespace
}  // namespace triptych::test
