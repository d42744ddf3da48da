#include "kernels/optimizer.h"

#include <limits>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych {
namespace {

TEST(AdamW, FollowsTheAlgorithmInDouble) {
  test::for_streams([](Stream& stream) {
    for (const int64_t n : {0, 1, 7, 65, 257, 40009}) {
      SCOPED_TRACE(n);
      std::vector<float> master = test::normals<float>(n, "master"), m(master.size()), v(master.size());
      std::vector<double> master_d = test::to_doubles(master), m_d(master.size()), v_d(master.size());
      std::vector<BFloat16> copy(master.size());
      const double lr = 0.01f, beta1 = 0.9f, beta2 = 0.95f, eps = 1e-6f, decay = 0.2f, scale = 0.25f;
      for (int64_t step = 1; step <= 4; ++step) {
        const std::vector<float> grad = test::normals<float>(n, "grad" + std::to_string(step), 0.1);
        for (std::size_t i = 0; i < master.size(); ++i) {
          const double g = scale * static_cast<double>(grad[i]);
          m_d[i] = beta1 * m_d[i] + (1 - beta1) * g;
          v_d[i] = beta2 * v_d[i] + (1 - beta2) * g * g;
          const double m_hat = m_d[i] / (1 - std::pow(beta1, step)), v_hat = v_d[i] / (1 - std::pow(beta2, step));
          master_d[i] -= lr * (m_hat / (std::sqrt(v_hat) + eps) + decay * master_d[i]);
        }
        adamw(stream, {master.data(), m.data(), v.data(), grad.data(), step % 2 == 0 ? copy.data() : nullptr, n, 0.01f,
                       0.9f, 0.95f, 1e-6f, 0.2f, step, 0.25f});
      }
      const double limit = test::tolerance(DType::kFloat32).local;
      test::expect_close(m, m_d, limit, "m");
      test::expect_close(v, v_d, limit, "v");
      test::expect_close(master, master_d, limit, "master");
      for (std::size_t i = 0; i < copy.size(); ++i) ASSERT_EQ(copy[i].bits, BFloat16(master[i]).bits);
    }
  });
}

/// A rank that owns a piece of a tensor updates it to the very bits that the whole would get.
TEST(AdamW, PiecesGiveTheSameBits) {
  test::for_streams([](Stream& stream) {
    const std::vector<float> grad = test::normals<float>(1000, "grad"), start = test::normals<float>(1000, "master");
    std::vector<float> whole = start, pieces = start, m(1000), v(1000), m2(1000), v2(1000);
    AdamWArgs args{whole.data(), m.data(), v.data(), grad.data(), nullptr, 1000, 0.1f};
    adamw(stream, args);
    for (const auto& [begin, end] : {std::pair{0, 333}, std::pair{333, 334}, std::pair{334, 1000}}) {
      adamw(stream, {pieces.data() + begin, m2.data() + begin, v2.data() + begin, grad.data() + begin, nullptr,
                     end - begin, 0.1f});
    }
    EXPECT_TRUE(test::same_bits(whole, pieces) && test::same_bits(m, m2) && test::same_bits(v, v2));
    args.step = 0;
    EXPECT_THROW(adamw(stream, args), InternalError);
  });
}

TEST(SumOfSquares, AgreesWithDoubleAndShowsWhatIsNotFinite) {
  test::for_streams([](Stream& stream) {
    for (const int64_t n : {0, 1, 7, 65, 257, 200003}) {
      const std::vector<float> x = test::normals<float>(n, "x");
      long double expected = 0;
      for (const float value : x) expected += static_cast<long double>(value) * static_cast<long double>(value);
      EXPECT_NEAR(sum_of_squares(stream, x.data(), n), static_cast<double>(expected),
                  test::tolerance(DType::kFloat32).local * static_cast<double>(expected));
    }
    std::vector<float> x(200003, 3e38f);
    EXPECT_TRUE(std::isfinite(sum_of_squares(stream, x.data(), 200003)));
    for (const std::size_t at : {std::size_t{0}, std::size_t{70000}, std::size_t{200002}}) {
      for (const float bad : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
        x[at] = bad;
        EXPECT_FALSE(std::isfinite(sum_of_squares(stream, x.data(), 200003)));
        x[at] = 1.0f;
      }
    }
  });
}

}  // namespace
}  // namespace triptych
