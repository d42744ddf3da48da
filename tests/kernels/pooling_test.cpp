#include "kernels/pooling.h"

#include "base/error.h"
#include "kernel_support.h"

namespace triptych {
namespace {

using Sizes = std::array<int64_t, 3>;  // batch, seq, cols
const std::vector<Sizes> kCases{{0, 3, 5}, {1, 1, 1}, {3, 5, 7}, {5, 77, 65}, {3, 13, 1031}};

/// Weights [batch, seq] such that out[b] = sum over s of weight[b, s] * x[b, s]: the oracle of both poolings.
using Weights = std::vector<double>;

template <typename X, typename Out, typename Forward, typename Backward>
void check(Stream& stream, const Sizes& sizes, const Weights& weights, const int32_t* index, const int32_t* lengths,
           const Forward& forward, const Backward& backward) {
  const auto [batch, seq, cols] = sizes;
  const std::vector<X> x = test::normals<X>(batch * seq * cols, "x");
  const std::vector<Out> dout = test::normals<Out>(batch * cols, "dout");
  std::vector<double> out_expected(dout.size()), dx_expected(x.size());
  for (int64_t b = 0; b < batch; ++b) {
    for (int64_t s = 0; s < seq; ++s) {
      for (int64_t c = 0; c < cols; ++c) {
        const auto i = static_cast<std::size_t>((b * seq + s) * cols + c), o = static_cast<std::size_t>(b * cols + c);
        const double weight = weights[static_cast<std::size_t>(b * seq + s)];
        out_expected[o] += weight * static_cast<double>(static_cast<float>(x[i]));
        dx_expected[i] = weight * static_cast<double>(static_cast<float>(dout[o]));
      }
    }
  }
  std::vector<Out> out(dout.size(), Out(99.0f));
  forward(stream, PoolForwardArgs{x.data(), index, lengths, out.data(), batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(out, out_expected, test::tolerance(dtype_of<Out>).local, "out");
  std::vector<X> dx(x.size(), X(99.0f));
  backward(stream,
           PoolBackwardArgs{dout.data(), index, lengths, dx.data(), batch, seq, cols, dtype_of<X>, dtype_of<Out>});
  test::expect_close(dx, dx_expected, test::tolerance(dtype_of<X>).local, "dx");
}

TEST(GatherRows, TakesOneRowASample) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const Sizes& sizes : kCases) {
      SCOPED_TRACE(testing::Message() << sizes[0] << " x " << sizes[1] << " x " << sizes[2]);
      std::vector<int32_t> index;
      Weights weights(static_cast<std::size_t>(sizes[0] * sizes[1]));
      for (int64_t b = 0; b < sizes[0]; ++b) {
        index.push_back(static_cast<int32_t>((b * 31 + sizes[1] - 1) % sizes[1]));
        weights[static_cast<std::size_t>(b * sizes[1] + index.back())] = 1.0;
      }
      check<T, float>(stream, sizes, weights, index.data(), nullptr, gather_rows, gather_rows_backward);
      check<T, T>(stream, sizes, weights, index.data(), nullptr, gather_rows, gather_rows_backward);
    }
  });
}

TEST(MeanPool, AveragesTheFirstRows) {
  test::for_cases([]<typename T>(Stream& stream, T) {
    for (const Sizes& sizes : kCases) {
      for (const bool ragged : {false, true}) {
        SCOPED_TRACE(testing::Message() << sizes[0] << " x " << sizes[1] << " x " << sizes[2] << " ragged " << ragged);
        std::vector<int32_t> lengths;
        Weights weights(static_cast<std::size_t>(sizes[0] * sizes[1]));
        for (int64_t b = 0; b < sizes[0]; ++b) {
          // 0 and the whole sequence are among them.
          lengths.push_back(static_cast<int32_t>(ragged ? (b == 1 ? 0 : sizes[1] - b % sizes[1]) : sizes[1]));
          for (int64_t s = 0; s < lengths.back(); ++s) {
            weights[static_cast<std::size_t>(b * sizes[1] + s)] = 1.0 / lengths.back();
          }
        }
        const int32_t* given = ragged ? lengths.data() : nullptr;
        check<T, float>(stream, sizes, weights, nullptr, given, mean_pool, mean_pool_backward);
        check<T, T>(stream, sizes, weights, nullptr, given, mean_pool, mean_pool_backward);
      }
    }
  });
}

TEST(Pooling, RefusesPositionsOutsideOfTheSequence) {
  Stream stream(1);
  float x[6] = {}, out[2];
  for (const int32_t bad : {-1, 3}) {
    EXPECT_THROW(gather_rows(stream, {x, &bad, nullptr, out, 1, 3, 2, DType::kFloat32, DType::kFloat32}),
                 InternalError);
  }
  const int32_t too_long = 4;
  EXPECT_THROW(mean_pool(stream, {x, nullptr, &too_long, out, 1, 3, 2, DType::kFloat32, DType::kFloat32}),
               InternalError);
}

}  // namespace
}  // namespace triptych
