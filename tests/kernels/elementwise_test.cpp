#include "kernels/elementwise.h"

#include <limits>
#include <numeric>

#include "kernel_support.h"

namespace triptych {
namespace {

using test::expect_close;
using test::normals;
using test::to_doubles;
using test::tolerance;

constexpr int64_t kSizes[] = {0, 1, 7, 65, 257, 40007};

TEST(Cast, RoundsToNearestEven) {
  test::for_streams([](Stream& stream) {
    // Every upper half with lower halves below, at and above the tie: both signs, subnormals, infinities, NaNs.
    std::vector<float> values;
    for (uint32_t upper = 0; upper < 0x10000; upper += 7) {
      for (const uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu}) {
        values.push_back(std::bit_cast<float>(upper << 16 | lower));
      }
    }
    std::vector<BFloat16> narrow(values.size());
    const auto n = static_cast<int64_t>(values.size());
    cast(stream, values.data(), DType::kFloat32, narrow.data(), DType::kBFloat16, n);
    std::vector<float> wide(values.size());
    cast(stream, narrow.data(), DType::kBFloat16, wide.data(), DType::kFloat32, n);
    for (std::size_t i = 0; i < values.size(); ++i) {
      ASSERT_EQ(narrow[i].bits, BFloat16(values[i]).bits) << std::bit_cast<uint32_t>(values[i]);
      ASSERT_EQ(std::bit_cast<uint32_t>(wide[i]), uint32_t{narrow[i].bits} << 16);
    }
  });
}

TEST(Elementwise, AgreesWithDouble) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(n);
      const std::vector<T> a = normals<T>(n, "a"), b = normals<T>(n, "b");
      std::vector<double> sum = to_doubles(a);
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += static_cast<double>(static_cast<float>(b[i]));
      std::vector<T> out = a;
      add_into(stream, out.data(), b.data(), n, dtype_of<T>);
      expect_close(out, sum, tolerance(dtype_of<T>).local, "add_into");
      fill(stream, out.data(), 1.5f, n, dtype_of<T>);
      EXPECT_TRUE(test::same_bits(out, std::vector<T>(out.size(), T(1.5f))));
    }
  });
}

TEST(Elementwise, Float32AgreesWithDouble) {
  test::for_streams([](Stream& stream) {
    for (const int64_t n : kSizes) {
      SCOPED_TRACE(n);
      const std::vector<float> a = normals<float>(n, "a"), b = normals<float>(n, "b");
      std::vector<double> added = to_doubles(a), scaled = added, difference = added;
      for (std::size_t i = 0; i < a.size(); ++i) {
        added[i] += 0.3f * static_cast<double>(b[i]);
        scaled[i] *= -2.7f;
        difference[i] -= static_cast<double>(b[i]);
      }
      const double limit = tolerance(DType::kFloat32).local;
      std::vector<float> out = a;
      accumulate(stream, out.data(), b.data(), 0.3f, n);
      expect_close(out, added, limit, "accumulate");
      out = a;
      scale_into(stream, out.data(), -2.7f, n);
      expect_close(out, scaled, limit, "scale_into");
      out = a;
      subtract(stream, out.data(), b.data(), out.data(), n);
      expect_close(out, difference, limit, "subtract");
    }
  });
}

TEST(CopyRows, TakesStrides) {
  for (const int num_threads : {1, 3}) {
    Stream stream(num_threads);
    const int64_t rows = 301, src_stride = 331, dst_stride = 401, row_bytes = 257;
    std::vector<uint8_t> src(static_cast<std::size_t>(rows * src_stride));
    std::iota(src.begin(), src.end(), uint8_t{1});
    std::vector<uint8_t> dst(static_cast<std::size_t>(rows * dst_stride), 0xee), expected = dst;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t i = 0; i < row_bytes; ++i) {
        expected[static_cast<std::size_t>(r * dst_stride + i)] = src[static_cast<std::size_t>(r * src_stride + i)];
      }
    }
    copy_rows(stream, {src.data(), dst.data(), rows, row_bytes, src_stride, dst_stride});
    EXPECT_EQ(dst, expected);

    std::vector<uint8_t> packed(static_cast<std::size_t>(rows * row_bytes));
    copy_rows(stream, {src.data(), packed.data(), rows, row_bytes, row_bytes, row_bytes});
    EXPECT_TRUE(std::equal(packed.begin(), packed.end(), src.begin()));

    copy_rows(stream, {src.data(), packed.data(), rows, row_bytes, 0, row_bytes});
    for (int64_t r = 0; r < rows; ++r) EXPECT_EQ(0, std::memcmp(packed.data() + r * row_bytes, src.data(), 257));
    copy_rows(stream, {nullptr, nullptr, 0, 4, 4, 4});
    copy_rows(stream, {nullptr, nullptr, 4, 0, 4, 4});
  }
}

TEST(SumRows, AgreesWithDoubleWhateverTheThreads) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const auto& [rows, cols, stride] : std::vector<std::array<int64_t, 3>>{
             {0, 3, 3}, {1, 1, 1}, {3, 7, 9}, {65, 65, 65}, {67, 1031, 1031}, {1003, 257, 300}, {2051, 33, 33}}) {
      SCOPED_TRACE(testing::Message() << rows << " x " << cols << " stride " << stride);
      const std::vector<T> x = normals<T>(rows * stride, "x", 0.3);
      std::vector<float> out = normals<float>(cols, "old"), single = out;
      std::vector<double> expected = to_doubles(out);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          expected[static_cast<std::size_t>(c)] +=
              static_cast<double>(static_cast<float>(x[static_cast<std::size_t>(r * stride + c)]));
        }
      }
      sum_rows(stream, {x.data(), out.data(), rows, cols, stride, dtype_of<T>});
      expect_close(out, expected, tolerance(DType::kFloat32).summed, "out");
      Stream one_thread(1);
      sum_rows(one_thread, {x.data(), single.data(), rows, cols, stride, dtype_of<T>});
      EXPECT_TRUE(test::same_bits(out, single));
    }
  });
}

/// A thousand times 1 + 2^-12 in float32, where one running sum would lose the small part a little each time.
TEST(SumRows, ManyRowsKeepTheirPrecision) {
  Stream stream(1);
  const int64_t rows = 100000;
  const std::vector<float> x(static_cast<std::size_t>(rows), 1.0f + 0x1p-12f);
  float out = 0.0f;
  sum_rows(stream, {x.data(), &out, rows, 1, 1, DType::kFloat32});
  const double expected = static_cast<double>(rows) * (1.0 + 0x1p-12);
  EXPECT_NEAR(static_cast<double>(out) / expected, 1.0, tolerance(DType::kFloat32).local);
}

TEST(Positions, AddAndSum) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const auto& [batch, seq, cols] :
         std::vector<std::array<int64_t, 3>>{{0, 3, 5}, {1, 1, 1}, {3, 5, 7}, {9, 17, 257}}) {
      SCOPED_TRACE(testing::Message() << batch << " x " << seq << " x " << cols);
      const int64_t row_stride = cols + 3, batch_stride = row_stride * (seq + 2);
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
      std::vector<T> out = x;
      add_positions(stream, {out.data(), pos.data(), batch, seq, cols, batch_stride, row_stride, dtype_of<T>});
      expect_close(out, added, tolerance(dtype_of<T>).local, "add_positions");
      std::vector<float> dpos = pos;
      sum_positions(stream, {x.data(), dpos.data(), batch, seq, cols, batch_stride, row_stride, dtype_of<T>});
      expect_close(dpos, summed, tolerance(DType::kFloat32).summed, "sum_positions");
    }
  });
}

}  // namespace
}  // namespace triptych
