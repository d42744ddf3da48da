#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "kernel_support.h"
#include "kernels/attention.h"

namespace triptych::test {
namespace {

constexpr float kNone = -std::numeric_limits<float>::infinity();

template <typename T>
std::vector<T> normals_of(int64_t count, const std::string& name) {
  return normals<T>(count, name);
}

template <typename F>
void with_activation_types(const F& f) {
  for (const DType dtype : activation_dtypes()) {
    SCOPED_TRACE(dtype_name(dtype));
    if (dtype == DType::kBFloat16) {
      f(BFloat16());
    } else if (dtype == DType::kFloat16) {
      f(Float16());
    } else {
      f(float());
    }
  }
}

// The textbook's average of two averages, weighted by the sums of their exponentials, in double.
TEST(AttentionMerge, IsTheAverageWeightedByTheSumsOfExponentials) {
  with_activation_types([](auto type) {
    using T = decltype(type);
    for (const auto& [batch, heads, queries, dim] :
         {std::array<int64_t, 4>{2, 3, 5, 16}, {1, 2, 7, 3}, {3, 1, 1, 128}, {0, 2, 5, 4}, {2, 2, 0, 4}}) {
      SCOPED_TRACE(fmt::format("B{} N{} S{} D{}", batch, heads, queries, dim));
      const int64_t rows = batch * heads * queries;
      const std::vector<T> o = normals_of<T>(rows * dim, "o");
      std::vector<float> merged = normals_of<float>(rows * dim, "merged");
      std::vector<float> lse = normals<float>(rows, "lse", 3.0, 40.0),
                         before = normals<float>(rows, "before", 3.0, 40.0);
      for (std::size_t row = 0; row < lse.size(); ++row) {
        if (row % 5 == 1) lse[row] = kNone;
        if (row % 5 == 2 || row % 15 == 1) before[row] = kNone;
      }
      std::vector<double> expected, expected_lse;
      std::vector<bool> has_key;
      for (int64_t b = 0; b < batch; ++b) {
        for (int64_t s = 0; s < queries; ++s) {
          for (int64_t n = 0; n < heads; ++n) {
            const auto row = static_cast<std::size_t>((b * heads + n) * queries + s);
            const double largest = std::max(before[row], lse[row]);
            const bool none = std::isinf(largest);
            const double old = none ? 0 : std::exp(before[row] - largest),
                         more = none ? 0 : std::exp(lse[row] - largest);
            for (int64_t d = 0; d < dim; ++d) {
              const auto at = static_cast<std::size_t>(((b * queries + s) * heads + n) * dim + d);
              const double sum = old * merged[at] + more * static_cast<double>(static_cast<float>(o[at]));
              expected.push_back(none ? 0 : sum / (old + more));
            }
          }
        }
      }
      for (std::size_t row = 0; row < lse.size(); ++row) {
        const double largest = std::max(before[row], lse[row]);
        expected_lse.push_back(
            std::isinf(largest) ? largest
                                : largest + std::log(std::exp(before[row] - largest) + std::exp(lse[row] - largest)));
      }
      Device device(2);
      const DeviceArray<T> device_o(device, o);
      const DeviceArray<float> device_lse(device, lse), device_before(device, before);
      DeviceArray<float> device_merged(device, merged), device_merged_lse(device, rows);
      attention_merge(device.stream(), {.batch = batch,
                                        .num_heads = heads,
                                        .num_queries = queries,
                                        .head_dim = dim,
                                        .o = device_o.data(),
                                        .lse = device_lse.data(),
                                        .dtype = dtype_of<T>,
                                        .merged = device_merged.data(),
                                        .lse_before = device_before.data(),
                                        .merged_lse = device_merged_lse.data()});
      expect_close(device_merged.host(), expected, tolerance(DType::kFloat32).summed, "merged");
      const std::vector<float> actual = device_merged_lse.host();
      for (std::size_t row = 0; row < actual.size(); ++row) {
        if (std::isinf(expected_lse[row])) {
          EXPECT_EQ(actual[row], kNone);
        } else {
          EXPECT_NEAR(actual[row], expected_lse[row],
                      tolerance(DType::kFloat32).local * std::max(1.0, std::abs(expected_lse[row])));
        }
      }
    }
  });
}

TEST(AttentionMerge, ANotANumberStaysVisible) {
  Device device(1);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const DeviceArray<float> o(device, std::vector<float>(3, 1.0f)), lse(device, std::vector<float>{nan, 1, nan}),
      before(device, std::vector<float>{kNone, nan, 2});
  DeviceArray<float> merged(device, std::vector<float>(3, 1.0f)), merged_lse(device, 3);
  attention_merge(device.stream(), {.batch = 1,
                                    .num_heads = 1,
                                    .num_queries = 3,
                                    .head_dim = 1,
                                    .o = o.data(),
                                    .lse = lse.data(),
                                    .merged = merged.data(),
                                    .lse_before = before.data(),
                                    .merged_lse = merged_lse.data()});
  for (const float value : merged.host()) EXPECT_TRUE(std::isnan(value));
  for (const float value : merged_lse.host()) EXPECT_TRUE(std::isnan(value));
}

// Keys in pieces, with the lengths of the whole sequence: all of them, and their gradients.
TEST(AttentionMerge, PiecesOfTheKeysGiveTheAttentionOverAllAndItsGradients) {
  with_activation_types([](auto type) {
    using T = decltype(type);
    const int64_t batch = 3, heads = 2, queries = 9, keys = 37, dim = 12, width = heads * dim;
    const std::vector<int32_t> lengths{0, 21, 37};
    Device device(2);
    Stream& stream = device.stream();
    const DeviceArray<T> q(device, normals_of<T>(batch * queries * width, "q")),
        k(device, normals_of<T>(batch * keys * width, "k")), v(device, normals_of<T>(batch * keys * width, "v")),
        d_o(device, normals_of<T>(batch * queries * width, "d_o"));
    const DeviceArray<int32_t> device_lengths(device, lengths);
    const AttentionStrides of_q{queries * width, width, dim}, of_k{keys * width, width, dim};
    AttentionShape shape{.batch = batch,
                         .num_heads = heads,
                         .num_queries = queries,
                         .num_keys = keys,
                         .head_dim = dim,
                         .scale = 0.4f,
                         .key_lengths = device_lengths.data(),
                         .dtype = dtype_of<T>};
    const auto forward = [&](const AttentionShape& of, DeviceArray<T>& o, DeviceArray<float>& lse) {
      attention_forward(stream, {.shape = of,
                                 .q = q.data(),
                                 .k = k.data() + of.first_key * width,
                                 .v = v.data() + of.first_key * width,
                                 .q_strides = of_q,
                                 .k_strides = of_k,
                                 .v_strides = of_k,
                                 .o = o.data(),
                                 .o_strides = of_q,
                                 .lse = lse.data()});
    };
    DeviceArray<T> o(device, batch * queries * width), dq(device, batch * queries * width),
        dk(device, batch * keys * width), dv(device, batch * keys * width);
    DeviceArray<float> lse(device, batch * heads * queries);
    const auto backward = [&](const AttentionShape& of, DeviceArray<T>& dk_of, DeviceArray<T>& dv_of) {
      attention_backward(stream, {.shape = of,
                                  .q = q.data(),
                                  .k = k.data() + of.first_key * width,
                                  .v = v.data() + of.first_key * width,
                                  .q_strides = of_q,
                                  .k_strides = of_k,
                                  .v_strides = of_k,
                                  .o = o.data(),
                                  .o_strides = of_q,
                                  .d_o = d_o.data(),
                                  .d_o_strides = of_q,
                                  .lse = lse.data(),
                                  .dq = dq.data(),
                                  .dk = dk_of.data() + of.first_key * width,
                                  .dv = dv_of.data() + of.first_key * width,
                                  .dq_strides = of_q,
                                  .dk_strides = of_k,
                                  .dv_strides = of_k});
    };
    forward(shape, o, lse);
    backward(shape, dk, dv);
    const std::vector<double> whole_dq = to_doubles(dq.host());

    DeviceArray<float> merged(device, std::vector<float>(static_cast<std::size_t>(batch * queries * width), 0.0f)),
        before(device, std::vector<float>(static_cast<std::size_t>(batch * heads * queries), kNone));
    DeviceArray<T> dk_pieces(device, batch * keys * width), dv_pieces(device, batch * keys * width);
    std::vector<double> dq_sum(whole_dq.size(), 0);
    for (const auto& [begin, count] : {std::array<int64_t, 2>{0, 5}, {5, 20}, {25, 12}}) {
      shape.first_key = begin;
      shape.num_keys = count;
      DeviceArray<T> o_here(device, batch * queries * width);
      DeviceArray<float> lse_here(device, batch * heads * queries), both(device, batch * heads * queries);
      forward(shape, o_here, lse_here);
      attention_merge(stream, {.batch = batch,
                               .num_heads = heads,
                               .num_queries = queries,
                               .head_dim = dim,
                               .o = o_here.data(),
                               .lse = lse_here.data(),
                               .dtype = dtype_of<T>,
                               .merged = merged.data(),
                               .lse_before = before.data(),
                               .merged_lse = both.data()});
      before = DeviceArray<float>(device, both.host());
      backward(shape, dk_pieces, dv_pieces);
      const std::vector<double> summand = to_doubles(dq.host());
      for (std::size_t i = 0; i < summand.size(); ++i) dq_sum[i] += summand[i];
    }
    const double limit = tolerance(dtype_of<T>).summed;
    EXPECT_LE(relative_error(to_doubles(merged.host()), to_doubles(o.host())), limit);
    EXPECT_LE(relative_error(dq_sum, whole_dq), limit);
    EXPECT_LE(relative_error(to_doubles(dk_pieces.host()), to_doubles(dk.host())), limit);
    EXPECT_LE(relative_error(to_doubles(dv_pieces.host()), to_doubles(dv.host())), limit);
    const std::vector<float> a = before.host(), b = lse.host();
    for (std::size_t i = 0; i < a.size(); ++i) {
      EXPECT_TRUE(a[i] == b[i] || std::abs(a[i] - b[i]) < 1e-5f) << i << ": " << a[i] << ", " << b[i];
    }
  });
}

}  // namespace
}  // namespace triptych::test
