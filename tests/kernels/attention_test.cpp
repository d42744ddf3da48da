#include "kernels/attention.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

struct Case {
  int64_t batch, num_heads, num_queries, num_keys, head_dim;
  bool causal = false;
  std::vector<int32_t> key_lengths;
  DType dtype = DType::kFloat32;
  int num_threads = 1;
  float scale = 0.3f;

  std::string name() const {
    std::string lengths;
    for (int32_t length : key_lengths) lengths += fmt::format(" {}", length);
    return fmt::format("B{} N{} S{} T{} D{}{} lengths:{} {} threads {}", batch, num_heads, num_queries, num_keys,
                       head_dim, causal ? " causal" : "", lengths, dtype_name(dtype), num_threads);
  }
};

template <typename F>
auto with_type(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kBFloat16:
      return f(BFloat16());
    case DType::kFloat16:
      return f(Float16());
    default:
      return f(float());
  }
}

/// A [B, tokens, N, D] array in device memory, possibly one of several interleaved per token as in a packed qkv.
class Heads {
 public:
  Heads(Device& device, const Case& c, int64_t num_tokens, int64_t interleaved, uint32_t seed)
      : dtype_(c.dtype),
        dims_{c.batch, num_tokens, c.num_heads, c.head_dim},
        strides_{.batch = num_tokens * interleaved * c.num_heads * c.head_dim,
                 .token = interleaved * c.num_heads * c.head_dim,
                 .head = c.head_dim},
        bytes_(device, random_bytes(static_cast<std::size_t>(c.batch * strides_.batch), dtype_, seed)) {}

  void* part(int64_t index) { return bytes_.data() + part_offset(index) * dtype_bytes(dtype_); }
  AttentionStrides strides() const { return strides_; }
  /// One part, packed as [B, N, tokens, D]. Waits for the device.
  std::vector<double> values(int64_t index) const {
    const std::vector<std::byte> bytes = bytes_.host();
    return with_type(dtype_, [&](auto type) {
      const auto* const elements = reinterpret_cast<const decltype(type)*>(bytes.data());
      std::vector<double> packed;
      for (int64_t b = 0; b < dims_[0]; ++b) {
        for (int64_t n = 0; n < dims_[2]; ++n) {
          for (int64_t s = 0; s < dims_[1]; ++s) {
            for (int64_t d = 0; d < dims_[3]; ++d) {
              const int64_t at = b * strides_.batch + n * strides_.head + s * strides_.token + d;
              packed.push_back(static_cast<float>(elements[part_offset(index) + static_cast<std::size_t>(at)]));
            }
          }
        }
      }
      return packed;
    });
  }

 private:
  static std::vector<std::byte> random_bytes(std::size_t count, DType dtype, uint32_t seed) {
    std::vector<std::byte> bytes(count * dtype_bytes(dtype));
    with_type(dtype, [&](auto type) {
      auto* const elements = reinterpret_cast<decltype(type)*>(bytes.data());
      for (std::size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        elements[i] = decltype(type)(static_cast<float>(static_cast<int32_t>(seed) >> 8) * 0x1p-22f);
      }
    });
    return bytes;
  }
  std::size_t part_offset(int64_t index) const { return static_cast<std::size_t>(index * dims_[2] * dims_[3]); }

  DType dtype_;
  std::array<int64_t, 4> dims_;
  AttentionStrides strides_;
  DeviceArray<std::byte> bytes_;
};

/// The textbook's softmax attention and its derivatives, in double, on packed [B, N, tokens, D].
struct Oracle {
  std::vector<double> o, lse, dq, dk, dv;

  Oracle(const Case& c, const std::vector<double>& q, const std::vector<double>& k, const std::vector<double>& v,
         const std::vector<double>& d_o)
      : o(q.size()), dq(q.size()), dk(k.size()), dv(v.size()) {
    const auto S = static_cast<std::size_t>(c.num_queries), T = static_cast<std::size_t>(c.num_keys);
    const auto D = static_cast<std::size_t>(c.head_dim), N = static_cast<std::size_t>(c.num_heads);
    for (std::size_t h = 0; h < static_cast<std::size_t>(c.batch) * N; ++h) {
      for (std::size_t i = 0; i < S; ++i) {
        std::vector<double> p(T), dp(T);
        double largest = -std::numeric_limits<double>::infinity(), sum = 0.0, delta = 0.0;
        const auto sees = [&](std::size_t j) {
          if (!c.key_lengths.empty() && static_cast<int64_t>(j) >= c.key_lengths[h / N]) return false;
          return !c.causal || static_cast<int64_t>(j) <= static_cast<int64_t>(i) + c.num_keys - c.num_queries;
        };
        for (std::size_t j = 0; j < T; ++j) {
          for (std::size_t d = 0; d < D; ++d) p[j] += q[(h * S + i) * D + d] * k[(h * T + j) * D + d] * c.scale;
          if (sees(j)) largest = std::max(largest, p[j]);
        }
        for (std::size_t j = 0; j < T; ++j) sum += p[j] = sees(j) ? std::exp(p[j] - largest) : 0.0;
        lse.push_back(sum > 0.0 ? largest + std::log(sum) : -std::numeric_limits<double>::infinity());
        if (sum == 0.0) continue;
        for (std::size_t j = 0; j < T; ++j) {
          p[j] /= sum;
          for (std::size_t d = 0; d < D; ++d) {
            o[(h * S + i) * D + d] += p[j] * v[(h * T + j) * D + d];
            dp[j] += d_o[(h * S + i) * D + d] * v[(h * T + j) * D + d];
          }
          delta += p[j] * dp[j];
        }
        for (std::size_t j = 0; j < T; ++j) {
          const double ds = p[j] * (dp[j] - delta) * c.scale;
          for (std::size_t d = 0; d < D; ++d) {
            dq[(h * S + i) * D + d] += ds * k[(h * T + j) * D + d];
            dk[(h * T + j) * D + d] += ds * q[(h * S + i) * D + d];
            dv[(h * T + j) * D + d] += p[j] * d_o[(h * S + i) * D + d];
          }
        }
      }
    }
  }
};

void check(const Case& c) {
  SCOPED_TRACE(c.name());
  Device device(c.num_threads);
  Stream& stream = device.stream();
  // q and o stand alone; k and v are parts 0 and 1 of an interleaved array, and the gradients are written to another.
  Heads q(device, c, c.num_queries, 2, 1), kv(device, c, c.num_keys, 2, 2);
  Heads d_o(device, c, c.num_queries, 1, 3), o(device, c, c.num_queries, 1, 4);
  Heads dq(device, c, c.num_queries, 3, 5), dkv(device, c, c.num_keys, 2, 6);
  const std::vector<double> untouched = dq.values(0);
  DeviceArray<float> device_lse(device, c.batch * c.num_heads * c.num_queries);
  const DeviceArray<int32_t> key_lengths(device, c.key_lengths);

  const AttentionShape shape{.batch = c.batch,
                             .num_heads = c.num_heads,
                             .num_queries = c.num_queries,
                             .num_keys = c.num_keys,
                             .head_dim = c.head_dim,
                             .scale = c.scale,
                             .causal = c.causal,
                             .key_lengths = c.key_lengths.empty() ? nullptr : key_lengths.data(),
                             .dtype = c.dtype};
  attention_forward(stream, {.shape = shape,
                             .q = q.part(1),
                             .k = kv.part(0),
                             .v = kv.part(1),
                             .q_strides = q.strides(),
                             .k_strides = kv.strides(),
                             .v_strides = kv.strides(),
                             .o = o.part(0),
                             .o_strides = o.strides(),
                             .lse = device_lse.data()});
  attention_backward(stream, {.shape = shape,
                              .q = q.part(1),
                              .k = kv.part(0),
                              .v = kv.part(1),
                              .q_strides = q.strides(),
                              .k_strides = kv.strides(),
                              .v_strides = kv.strides(),
                              .o = o.part(0),
                              .o_strides = o.strides(),
                              .d_o = d_o.part(0),
                              .d_o_strides = d_o.strides(),
                              .lse = device_lse.data(),
                              .dq = dq.part(1),
                              .dk = dkv.part(0),
                              .dv = dkv.part(1),
                              .dq_strides = dq.strides(),
                              .dk_strides = dkv.strides(),
                              .dv_strides = dkv.strides()});

  const Oracle expected(c, q.values(1), kv.values(0), kv.values(1), d_o.values(0));
  const double tolerance = test::tolerance(c.dtype).summed;
  EXPECT_LE(test::relative_error(o.values(0), expected.o), tolerance);
  if (c.num_keys == 1) {
    // One key's probability is 1 whatever its score; what is left of p * (dp - delta) is measured against its terms, of
    // at most head_dim * 2 * 2 * scale * 2.
    const double terms = static_cast<double>(c.head_dim) * 8.0 * c.scale;
    for (double value : dq.values(1)) EXPECT_NEAR(value, 0.0, test::tolerance(c.dtype).scalar * terms);
    for (double value : dkv.values(0)) EXPECT_NEAR(value, 0.0, test::tolerance(c.dtype).scalar * terms);
  } else {
    EXPECT_LE(test::relative_error(dq.values(1), expected.dq), tolerance);
    EXPECT_LE(test::relative_error(dkv.values(0), expected.dk), tolerance);
  }
  EXPECT_LE(test::relative_error(dkv.values(1), expected.dv), tolerance);
  EXPECT_EQ(dq.values(0), untouched);
  const std::vector<float> lse = device_lse.host();
  for (std::size_t i = 0; i < lse.size(); ++i) {
    if (std::isinf(expected.lse[i])) {
      EXPECT_EQ(lse[i], -std::numeric_limits<float>::infinity()) << "row " << i;
    } else {
      EXPECT_NEAR(lse[i], expected.lse[i],
                  test::tolerance(DType::kFloat32).summed * std::max(1.0, std::abs(expected.lse[i])));
    }
  }
}

class AttentionOf : public testing::TestWithParam<DType> {};

TEST_P(AttentionOf, LengthsThatCrossTiles) {
  for (int64_t length : {1, 2, 7, 16, 65, 96, 97, 130}) {
    for (bool causal : {false, true}) check({1, 2, length, length, 8, causal, {}, GetParam()});
  }
  check({1, 1, 300, 300, 5, true, {}, GetParam()});
  check({2, 1, 300, 300, 5, false, {211, 97}, GetParam()});
}

TEST_P(AttentionOf, HeadDimsThatAreNoVector) {
  for (int64_t head_dim : {1, 3, 16, 20, 33, 64, 80, 100, 128}) {
    check({2, 2, 9, 33, head_dim, false, {}, GetParam()});
  }
  check({2, 2, 9, 33, max_attention_head_dim(), false, {}, GetParam()});
}

TEST_P(AttentionOf, ManyTilesOfWideHeads) {
  for (int64_t head_dim : {32, 64, 96, 128}) check({1, 1, 150, 140, head_dim, true, {}, GetParam()});
}

TEST_P(AttentionOf, MoreKeysThanQueriesAndFewer) {
  for (bool causal : {false, true}) {
    check({1, 2, 3, 130, 16, causal, {}, GetParam()});
    check({1, 2, 130, 3, 16, causal, {}, GetParam()});  // causal: the first 127 queries see nothing
    check({1, 1, 100, 200, 16, causal, {}, GetParam()});
  }
}

TEST_P(AttentionOf, KeyLengths) {
  for (bool causal : {false, true}) {
    check({4, 2, 65, 65, 64, causal, {0, 1, 65, 40}, GetParam(), 3});
    check({3, 1, 20, 150, 24, causal, {0, 96, 149}, GetParam(), 2});
  }
  check({2, 1, 5, 9, 4, false, {-3, 100}, GetParam()});  // clamped
}

TEST_P(AttentionOf, EmptySizes) {
  check({0, 2, 5, 5, 8, false, {}, GetParam()});
  check({2, 2, 0, 5, 8, true, {}, GetParam()});
  check({2, 2, 5, 0, 8, false, {}, GetParam()});
}

TEST_P(AttentionOf, MoreThreadsThanHeads) {
  check({1, 2, 40, 40, 32, true, {}, GetParam(), 3});
}

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionOf, testing::ValuesIn(test::activation_dtypes()),
                         [](const auto& tested) { return std::string(dtype_name(tested.param)); });

// Scores of +-6000 overflow exp without the running maximum; the key with the largest takes everything.
TEST(Attention, LargeScoresInDescendingAndAscendingTiles) {
  constexpr int64_t kTokens = 200;
  Device device(1);
  for (int sign : {-1, 1}) {
    std::vector<float> keys, values;
    for (int j = 0; j < kTokens; ++j) {
      keys.push_back(static_cast<float>(sign) * 60.0f * static_cast<float>(j - 100));
      values.push_back(static_cast<float>(j));
    }
    const DeviceArray<float> q(device, std::vector<float>(kTokens, 1.0f)), k(device, keys), v(device, values);
    DeviceArray<float> o(device, kTokens), lse(device, kTokens);
    const AttentionStrides strides{kTokens, 1, 1};
    attention_forward(
        device.stream(),
        {.shape = {.batch = 1, .num_heads = 1, .num_queries = kTokens, .num_keys = kTokens, .head_dim = 1},
         .q = q.data(),
         .k = k.data(),
         .v = v.data(),
         .q_strides = strides,
         .k_strides = strides,
         .v_strides = strides,
         .o = o.data(),
         .o_strides = strides,
         .lse = lse.data()});
    const float winner = sign < 0 ? 0.0f : 199.0f;
    const float top = sign < 0 ? 6000.0f : 5940.0f;
    for (const float value : o.host()) EXPECT_NEAR(value, winner, 1e-4f);
    for (const float value : lse.host()) EXPECT_NEAR(value, top, top * test::tolerance(DType::kFloat32).local);
  }
}

TEST(Attention, ResultsDependNeitherOnThreadsNorOnTheBatch) {
  for (const DType dtype : test::activation_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    const auto run = [dtype](int num_threads, int64_t batch) {
      Case c{batch, 3, 33, 47, 16};
      c.dtype = dtype;
      Device device(num_threads);
      Heads q(device, c, 33, 1, 1), k(device, c, 47, 1, 2), o(device, c, 33, 1, 3);
      attention_forward(device.stream(), {.shape = {.batch = batch,
                                                    .num_heads = 3,
                                                    .num_queries = 33,
                                                    .num_keys = 47,
                                                    .head_dim = 16,
                                                    .scale = 0.25f,
                                                    .dtype = dtype},
                                          .q = q.part(0),
                                          .k = k.part(0),
                                          .v = k.part(0),
                                          .q_strides = q.strides(),
                                          .k_strides = k.strides(),
                                          .v_strides = k.strides(),
                                          .o = o.part(0),
                                          .o_strides = o.strides()});
      std::vector<double> first = o.values(0);
      first.resize(3 * 33 * 16);
      return first;
    };
    const std::vector<double> once = run(1, 1);
    for (const int num_threads : test::thread_counts()) {
      EXPECT_EQ(once, run(num_threads, 1));
      EXPECT_EQ(once, run(num_threads, 4));
    }
  }
}

TEST(Attention, GradientsRepeatTheirBits) {
  for (const DType dtype : test::activation_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    Case c{2, 2, 150, 150, 40, true};
    c.dtype = dtype;
    Device device(2);
    const DeviceArray<float> lse(device, test::normals<float>(2 * 2 * 150, "lse", 6.0, 0.1));
    Heads q(device, c, 150, 1, 1), k(device, c, 150, 1, 2), v(device, c, 150, 1, 3), d_o(device, c, 150, 1, 4);
    const auto run = [&] {
      Heads dq(device, c, 150, 1, 5), dk(device, c, 150, 1, 6), dv(device, c, 150, 1, 7);
      const AttentionStrides strides = q.strides();
      attention_backward(device.stream(), {.shape = {.batch = 2,
                                                     .num_heads = 2,
                                                     .num_queries = 150,
                                                     .num_keys = 150,
                                                     .head_dim = 40,
                                                     .scale = 0.1f,
                                                     .causal = true,
                                                     .dtype = dtype},
                                           .q = q.part(0),
                                           .k = k.part(0),
                                           .v = v.part(0),
                                           .q_strides = strides,
                                           .k_strides = strides,
                                           .v_strides = strides,
                                           .o = v.part(0),
                                           .o_strides = strides,
                                           .d_o = d_o.part(0),
                                           .d_o_strides = strides,
                                           .lse = lse.data(),
                                           .dq = dq.part(0),
                                           .dk = dk.part(0),
                                           .dv = dv.part(0),
                                           .dq_strides = strides,
                                           .dk_strides = strides,
                                           .dv_strides = strides});
      return std::array{dq.values(0), dk.values(0), dv.values(0)};
    };
    EXPECT_EQ(run(), run());
  }
}

TEST(Attention, ANotANumberStaysVisible) {
  Device device(1);
  std::vector<float> values(8, 1.0f);
  values[1] = std::numeric_limits<float>::quiet_NaN();
  const DeviceArray<float> q(device, values);
  DeviceArray<float> o(device, 8), lse(device, 2);
  const AttentionStrides strides{8, 4, 4};
  attention_forward(device.stream(), {.shape = {1, 1, 2, 2, 4},
                                      .q = q.data(),
                                      .k = q.data(),
                                      .v = q.data(),
                                      .q_strides = strides,
                                      .k_strides = strides,
                                      .v_strides = strides,
                                      .o = o.data(),
                                      .o_strides = strides,
                                      .lse = lse.data()});
  EXPECT_TRUE(std::isnan(o.host()[0]) && std::isnan(o.host()[7]) && std::isnan(lse.host()[1]));
}

TEST(Attention, RefusesWhatTheContractExcludes) {
  Device device(1);
  AttentionForward call;
  for (const int64_t head_dim : {max_attention_head_dim() + 1, int64_t{0}}) {
    call.shape.head_dim = head_dim;
    EXPECT_THROW(attention_forward(device.stream(), call), InternalError);
  }
  call.shape.head_dim = 4;
  call.shape.dtype = DType::kInt32;
  EXPECT_THROW(attention_forward(device.stream(), call), InternalError);
}

}  // namespace
}  // namespace triptych::test
