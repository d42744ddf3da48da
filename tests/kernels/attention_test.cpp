#include "kernels/attention.h"

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/tolerance.h"

namespace triptych {
namespace {

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

/// A [B, tokens, N, D] array, possibly one of several interleaved per token as in a packed qkv.
class Heads {
 public:
  Heads(const Case& c, int64_t num_tokens, int64_t interleaved, uint32_t seed)
      : dtype_(c.dtype), dims_{c.batch, num_tokens, c.num_heads, c.head_dim} {
    strides_.head = c.head_dim;
    strides_.token = interleaved * c.num_heads * c.head_dim;
    strides_.batch = num_tokens * strides_.token;
    bytes_.resize(static_cast<std::size_t>(c.batch * strides_.batch) * dtype_bytes(dtype_));
    for (std::size_t i = 0; i < bytes_.size() / dtype_bytes(dtype_); ++i) {
      seed = seed * 1664525u + 1013904223u;
      const float value = static_cast<float>(static_cast<int32_t>(seed) >> 8) * 0x1p-22f;
      if (dtype_ == DType::kBFloat16) {
        reinterpret_cast<BFloat16*>(bytes_.data())[i] = BFloat16(value);
      } else {
        reinterpret_cast<float*>(bytes_.data())[i] = value;
      }
    }
  }
  void* part(int64_t index) { return bytes_.data() + part_offset(index) * dtype_bytes(dtype_); }
  AttentionStrides strides() const { return strides_; }
  /// One part, packed as [B, N, tokens, D].
  std::vector<double> values(int64_t index) const {
    std::vector<double> packed;
    for (int64_t b = 0; b < dims_[0]; ++b) {
      for (int64_t n = 0; n < dims_[2]; ++n) {
        for (int64_t s = 0; s < dims_[1]; ++s) {
          for (int64_t d = 0; d < dims_[3]; ++d) {
            const auto at = part_offset(index) +
                            static_cast<std::size_t>(b * strides_.batch + n * strides_.head + s * strides_.token + d);
            packed.push_back(dtype_ == DType::kBFloat16
                                 ? static_cast<float>(reinterpret_cast<const BFloat16*>(bytes_.data())[at])
                                 : reinterpret_cast<const float*>(bytes_.data())[at]);
          }
        }
      }
    }
    return packed;
  }

 private:
  std::size_t part_offset(int64_t index) const { return static_cast<std::size_t>(index * dims_[2] * dims_[3]); }
  DType dtype_;
  std::array<int64_t, 4> dims_;
  AttentionStrides strides_;
  std::vector<std::byte> bytes_;
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
  Stream stream(c.num_threads);
  // q and o stand alone; k and v are parts 0 and 1 of an interleaved array, and the gradients are written to another.
  Heads q(c, c.num_queries, 2, 1), kv(c, c.num_keys, 2, 2), d_o(c, c.num_queries, 1, 3), o(c, c.num_queries, 1, 4);
  Heads dq(c, c.num_queries, 3, 5), dkv(c, c.num_keys, 2, 6);
  const std::vector<double> untouched = dq.values(0);
  std::vector<float> lse(static_cast<std::size_t>(c.batch * c.num_heads * c.num_queries), 123.0f);

  const AttentionShape shape{.batch = c.batch,
                             .num_heads = c.num_heads,
                             .num_queries = c.num_queries,
                             .num_keys = c.num_keys,
                             .head_dim = c.head_dim,
                             .scale = c.scale,
                             .causal = c.causal,
                             .key_lengths = c.key_lengths.empty() ? nullptr : c.key_lengths.data(),
                             .dtype = c.dtype};
  attention_forward({.shape = shape,
                     .q = q.part(1),
                     .k = kv.part(0),
                     .v = kv.part(1),
                     .q_strides = q.strides(),
                     .k_strides = kv.strides(),
                     .v_strides = kv.strides(),
                     .o = o.part(0),
                     .o_strides = o.strides(),
                     .lse = lse.data()},
                    stream);
  attention_backward({.shape = shape,
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
                      .lse = lse.data(),
                      .dq = dq.part(1),
                      .dk = dkv.part(0),
                      .dv = dkv.part(1),
                      .dq_strides = dq.strides(),
                      .dk_strides = dkv.strides(),
                      .dv_strides = dkv.strides()},
                     stream);

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
  for (int64_t head_dim : {1, 3, 16, 20, 64, 80, 256}) check({2, 2, 9, 33, head_dim, false, {}, GetParam()});
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

INSTANTIATE_TEST_SUITE_P(Kernels, AttentionOf, testing::Values(DType::kFloat32, DType::kBFloat16),
                         [](const auto& tested) { return std::string(dtype_name(tested.param)); });

// Scores of +-6000 overflow exp without the running maximum; the key with the largest takes everything.
TEST(Attention, LargeScoresInDescendingAndAscendingTiles) {
  constexpr int64_t kTokens = 200;
  for (int sign : {-1, 1}) {
    std::vector<float> q(kTokens, 1.0f), k(kTokens), v(kTokens), o(kTokens), lse(kTokens);
    for (std::size_t j = 0; j < kTokens; ++j) {
      k[j] = static_cast<float>(sign) * 60.0f * static_cast<float>(static_cast<int>(j) - 100);
      v[j] = static_cast<float>(j);
    }
    const AttentionStrides strides{kTokens, 1, 1};
    Stream stream(1);
    attention_forward(
        {.shape = {.batch = 1, .num_heads = 1, .num_queries = kTokens, .num_keys = kTokens, .head_dim = 1},
         .q = q.data(),
         .k = k.data(),
         .v = v.data(),
         .q_strides = strides,
         .k_strides = strides,
         .v_strides = strides,
         .o = o.data(),
         .o_strides = strides,
         .lse = lse.data()},
        stream);
    const float winner = sign < 0 ? 0.0f : 199.0f;
    const float top = sign < 0 ? 6000.0f : 5940.0f;
    for (std::size_t i = 0; i < kTokens; ++i) {
      EXPECT_NEAR(o[i], winner, 1e-4f);
      EXPECT_NEAR(lse[i], top, top * test::tolerance(DType::kFloat32).local);
    }
  }
}

TEST(Attention, ResultsDependNeitherOnThreadsNorOnTheBatch) {
  const auto run = [](int num_threads, int64_t batch) {
    const Case c{batch, 3, 33, 47, 16};
    Stream stream(num_threads);
    Heads q(c, 33, 1, 1), k(c, 47, 1, 2), o(c, 33, 1, 3);
    attention_forward({.shape = {batch, 3, 33, 47, 16, 0.25f},
                       .q = q.part(0),
                       .k = k.part(0),
                       .v = k.part(0),
                       .q_strides = q.strides(),
                       .k_strides = k.strides(),
                       .v_strides = k.strides(),
                       .o = o.part(0),
                       .o_strides = o.strides()},
                      stream);
    std::vector<double> first = o.values(0);
    first.resize(3 * 33 * 16);
    return first;
  };
  const std::vector<double> once = run(1, 1);
  EXPECT_EQ(once, run(3, 1));
  EXPECT_EQ(once, run(2, 4));
}

TEST(Attention, ANotANumberStaysVisible) {
  std::vector<float> q(8, 1.0f), o(8), lse(2);
  q[1] = std::numeric_limits<float>::quiet_NaN();
  const AttentionStrides strides{8, 4, 4};
  Stream stream(1);
  attention_forward({.shape = {1, 1, 2, 2, 4},
                     .q = q.data(),
                     .k = q.data(),
                     .v = q.data(),
                     .q_strides = strides,
                     .k_strides = strides,
                     .v_strides = strides,
                     .o = o.data(),
                     .o_strides = strides,
                     .lse = lse.data()},
                    stream);
  EXPECT_TRUE(std::isnan(o[0]) && std::isnan(o[7]) && std::isnan(lse[1]));
}

TEST(Attention, RefusesWhatTheContractExcludes) {
  Stream stream(1);
  AttentionForward call;
  call.shape.head_dim = 257;
  EXPECT_THROW(attention_forward(call, stream), InternalError);
  call.shape.head_dim = 0;
  EXPECT_THROW(attention_forward(call, stream), InternalError);
  call.shape.head_dim = 4;
  call.shape.dtype = DType::kInt32;
  EXPECT_THROW(attention_forward(call, stream), InternalError);
}

}  // namespace
}  // namespace triptych
