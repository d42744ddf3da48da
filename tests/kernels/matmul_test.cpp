#include "kernels/matmul.h"

#include <array>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernel_support.h"

namespace triptych::test {
namespace {

using test::DeviceArray;

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

/// Values of one storage type in device memory, and the same in double for the oracle.
class Values {
 public:
  Values(Device& device, std::size_t count, DType dtype, uint32_t seed)
      : dtype_(dtype), bytes_(device, random_bytes(count, dtype, seed)), real_(now()) {}
  void* data() { return bytes_.data(); }
  const std::vector<double>& real() const { return real_; }
  /// Waits for the device.
  std::vector<double> now() const {
    const std::vector<std::byte> bytes = bytes_.host();
    return with_type(dtype_, [&](auto type) {
      const auto* const elements = reinterpret_cast<const decltype(type)*>(bytes.data());
      std::vector<double> values(bytes.size() / sizeof(type));
      for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(elements[i]);
      return values;
    });
  }

 private:
  static std::vector<std::byte> random_bytes(std::size_t count, DType dtype, uint32_t seed) {
    std::vector<std::byte> bytes(count * dtype_bytes(dtype));
    with_type(dtype, [&](auto type) {
      auto* const elements = reinterpret_cast<decltype(type)*>(bytes.data());
      for (std::size_t i = 0; i < count; ++i) {
        seed = seed * 1664525u + 1013904223u;
        elements[i] = decltype(type)(static_cast<float>(static_cast<int32_t>(seed) >> 8) * 0x1p-23f);
      }
    });
    return bytes;
  }

  DType dtype_;
  DeviceArray<std::byte> bytes_;
  std::vector<double> real_;
};

struct Case {
  int64_t m, n, k;
  bool transpose_a = false, transpose_b = false, accumulate = false, bias = false;
  DType input = DType::kFloat32, output = DType::kFloat32;
  int64_t batch = 1;
  int64_t padding = 0;  ///< elements between the rows, of another width for A, B and C
  bool shared_b = false;
  int num_threads = 1;
  bool a_sums = false, accumulate_a_sums = false;

  std::string name() const {
    return fmt::format("{}x{}x{}{}{}{}{}{} {}->{} batch {} padding {} shared {} threads {}", m, n, k,
                       transpose_a ? " At" : "", transpose_b ? " Bt" : "", accumulate ? " +=" : "", bias ? " bias" : "",
                       accumulate_a_sums ? " sums +="
                       : a_sums          ? " sums"
                                         : "",
                       dtype_name(input), dtype_name(output), batch, padding, shared_b, num_threads);
  }
};

void check(const Case& c, Device& device) {
  SCOPED_TRACE(c.name());
  const int64_t lda = (c.transpose_a ? c.m : c.k) + c.padding;
  const int64_t ldb = (c.transpose_b ? c.k : c.n) + (c.padding > 0 ? c.padding + 1 : 0);
  const int64_t ldc = c.n + (c.padding > 0 ? c.padding + 2 : 0);
  const int64_t stride_a = (c.transpose_a ? c.k : c.m) * lda + 5;
  const int64_t stride_b = c.shared_b ? 0 : (c.transpose_b ? c.n : c.k) * ldb + 3;
  const int64_t stride_c = c.m * ldc + 7;
  const auto count = [&](int64_t stride, int64_t one) {
    return static_cast<std::size_t>(stride * (c.batch - 1) + one);
  };
  Values a(device, count(stride_a, stride_a), c.input, 1);
  Values b(device, count(stride_b, (c.transpose_b ? c.n : c.k) * ldb + 1), c.input, 2);
  Values out(device, count(stride_c, stride_c), c.output, 3);
  Values bias(device, static_cast<std::size_t>(c.n), DType::kFloat32, 4);

  // What lies between the rows and the matrices must stay as it was.
  std::vector<double> expected = out.real();
  for (int64_t s = 0; s < c.batch; ++s) {
    for (int64_t i = 0; i < c.m; ++i) {
      for (int64_t j = 0; j < c.n; ++j) {
        double& value = expected[static_cast<std::size_t>(s * stride_c + i * ldc + j)];
        double sum = (c.accumulate ? value : 0.0) + (c.bias ? bias.real()[static_cast<std::size_t>(j)] : 0.0);
        for (int64_t x = 0; x < c.k; ++x) {
          const int64_t at_a = s * stride_a + (c.transpose_a ? x * lda + i : i * lda + x);
          const int64_t at_b = s * stride_b + (c.transpose_b ? j * ldb + x : x * ldb + j);
          sum += a.real()[static_cast<std::size_t>(at_a)] * b.real()[static_cast<std::size_t>(at_b)];
        }
        value = sum;
      }
    }
  }

  Matmul product{.m = c.m, .n = c.n, .k = c.k};
  product.a = a.data();
  product.a_row_stride = c.padding > 0 ? lda : 0;
  product.transpose_a = c.transpose_a;
  product.b = b.data();
  product.b_row_stride = c.padding > 0 ? ldb : 0;
  product.transpose_b = c.transpose_b;
  product.c = out.data();
  product.c_row_stride = c.padding > 0 ? ldc : 0;
  product.accumulate = c.accumulate;
  product.bias = c.bias ? static_cast<const float*>(bias.data()) : nullptr;
  product.input_dtype = c.input;
  product.output_dtype = c.output;
  product.batch = c.batch;
  product.a_batch_stride = stride_a;
  product.b_batch_stride = stride_b;
  product.c_batch_stride = stride_c;
  Values sums(device, static_cast<std::size_t>(c.m), DType::kFloat32, 5);
  std::vector<double> expected_sums = sums.real();
  if (c.a_sums) {
    for (int64_t i = 0; i < c.m; ++i) {
      double& sum = expected_sums[static_cast<std::size_t>(i)];
      if (!c.accumulate_a_sums) sum = 0;
      for (int64_t x = 0; x < c.k; ++x) sum += a.real()[static_cast<std::size_t>(x * lda + i)];
    }
    product.a_sums = {static_cast<float*>(sums.data()), !c.accumulate_a_sums};
  }
  matmul(device.stream(), product);
  EXPECT_LE(test::relative_error(out.now(), expected), test::tolerance(c.output).summed);
  EXPECT_LE(test::relative_error(sums.now(), expected_sums), test::tolerance(DType::kFloat32).summed) << "sums of A";
}

struct Types {
  DType input, output;
};

class MatmulTypes : public testing::TestWithParam<Types> {};

TEST_P(MatmulTypes, EveryFormAtOddSizes) {
  for (int num_threads : test::thread_counts()) {
    Device device(num_threads);
    for (const auto& [m, n, k] :
         {std::array<int64_t, 3>{1, 1, 1}, {1, 7, 3}, {5, 1, 17}, {13, 31, 65}, {67, 48, 129}, {130, 257, 40}}) {
      for (int form = 0; form < 16; ++form) {
        check({.m = m,
               .n = n,
               .k = k,
               .transpose_a = (form & 1) != 0,
               .transpose_b = (form & 2) != 0,
               .accumulate = (form & 4) != 0,
               .bias = (form & 8) != 0,
               .input = GetParam().input,
               .output = GetParam().output,
               .padding = form % 3,
               .num_threads = num_threads},
              device);
      }
    }
  }
}

// Many rows and many terms go other ways than small products do; rows of A that are 4 KiB apart, yet another.
TEST_P(MatmulTypes, TheFormsOfALinearLayer) {
  for (bool accumulate : {false, true}) {
    Case c{.m = 1030, .n = 37, .k = 19, .accumulate = accumulate, .num_threads = accumulate ? 3 : 1};
    c.input = GetParam().input;
    c.output = GetParam().output;
    Device device(c.num_threads);
    check(c, device);
    c.transpose_b = c.bias = true;
    c.padding = 3;
    check(c, device);
    c.transpose_b = c.bias = false;
    c.padding = 0;
    c.transpose_a = true;
    for (const auto& [m, n, k] :
         {std::array<int64_t, 3>{13, 21, 301}, {129, 130, 301}, {2048, 9, 257}, {1024, 18, 256}, {9, 2048, 260}}) {
      c.m = m;
      c.n = n;
      c.k = k;
      check(c, device);
    }
  }
}

// A weight's gradient with its bias's.
TEST_P(MatmulTypes, SumsOfA) {
  if (GetParam().output != DType::kFloat32) {
    Device device(1);
    const Case refused{.m = 3,
                       .n = 2,
                       .k = 5,
                       .transpose_a = true,
                       .input = GetParam().input,
                       .output = GetParam().output,
                       .a_sums = true};
    EXPECT_THROW(check(refused, device), InternalError);
    return;
  }
  for (int num_threads : test::thread_counts()) {
    Device device(num_threads);
    for (const auto& [m, n, k] : {std::array<int64_t, 3>{1, 1, 1}, {7, 5, 0}, {13, 31, 65}, {129, 40, 130}}) {
      for (int form = 0; form < 8; ++form) {
        check({.m = m,
               .n = n,
               .k = k,
               .transpose_a = true,
               .accumulate = (form & 1) != 0,
               .input = GetParam().input,
               .output = GetParam().output,
               .padding = (form & 4) != 0 ? 3 : 0,
               .num_threads = num_threads,
               .a_sums = true,
               .accumulate_a_sums = (form & 2) != 0},
              device);
      }
    }
  }
}

TEST_P(MatmulTypes, BatchesWithAndWithoutASharedMatrix) {
  Device device(3);
  for (int form = 0; form < 16; ++form) {
    check({.m = 9,
           .n = 20,
           .k = 33,
           .transpose_a = (form & 1) != 0,
           .transpose_b = (form & 2) != 0,
           .accumulate = (form & 4) != 0,
           .bias = (form & 8) != 0,
           .input = GetParam().input,
           .output = GetParam().output,
           .batch = 5,
           .padding = form % 2,
           .shared_b = form >= 8,
           .num_threads = 3},
          device);
  }
}

TEST_P(MatmulTypes, EmptySizes) {
  Device device(1);
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{0, 5, 3}, {5, 0, 3}, {5, 4, 0}, {0, 0, 0}}) {
    for (int form = 0; form < 16; ++form) {
      check({.m = m,
             .n = n,
             .k = k,
             .transpose_a = (form & 1) != 0,
             .transpose_b = (form & 2) != 0,
             .accumulate = (form & 4) != 0,
             .bias = (form & 8) != 0,
             .input = GetParam().input,
             .output = GetParam().output,
             .batch = 2,
             .padding = form % 2},
            device);
    }
  }
}

std::vector<Types> all_types() {
  std::vector<Types> types{{DType::kFloat32, DType::kFloat32}};
  for (const DType dtype : test::activation_dtypes()) {
    if (dtype == DType::kFloat32) continue;
    types.push_back({dtype, DType::kFloat32});
    types.push_back({dtype, dtype});
  }
  return types;
}

INSTANTIATE_TEST_SUITE_P(Kernels, MatmulTypes, testing::ValuesIn(all_types()), [](const auto& tested) {
  return fmt::format("{}_to_{}", dtype_name(tested.param.input), dtype_name(tested.param.output));
});

TEST(Matmul, MorePreparedShapesThanAreKept) {
  Device device(1);
  for (int round = 0; round < 2; ++round) {
    for (int64_t m = 1; m <= 600; ++m) {
      const DeviceArray<float> a(device, std::vector<float>(static_cast<std::size_t>(m), 2.0f)),
          b(device, std::vector{3.0f});
      DeviceArray<float> c(device, std::vector<float>(static_cast<std::size_t>(m), -1.0f));
      matmul(device.stream(), {.m = m, .n = 1, .k = 1, .a = a.data(), .b = b.data(), .c = c.data()});
      ASSERT_EQ(c.host(), std::vector<float>(static_cast<std::size_t>(m), 6.0f)) << "m = " << m;
    }
  }
}

// 1 + 2^-16 is a float32, and no TF32; sums of 64 of them are exact.
TEST(Matmul, KeepsFloat32UnlessTf32IsAllowed) {
  Device device(1);
  const float value = 1.0f + 0x1p-16f;
  const DeviceArray<float> a(device, std::vector<float>(64 * 64, value)), b(device, std::vector<float>(64 * 64, 1.0f));
  DeviceArray<float> c(device, 64 * 64);
  const Matmul product{.m = 64, .n = 64, .k = 64, .a = a.data(), .b = b.data(), .c = c.data()};
  matmul(device.stream(), product);
  for (const float sum : c.host()) ASSERT_EQ(sum, 64.0f * value);
  if (device.kind() == "cpu") {
    EXPECT_THROW(allow_tf32(device.stream(), true), UserError);
  } else {
    allow_tf32(device.stream(), true);
    matmul(device.stream(), product);
    for (const float sum : c.host()) ASSERT_NEAR(sum, 64.0f * value, 64.0f * 0x1p-10f);
  }
  allow_tf32(device.stream(), false);
  matmul(device.stream(), product);
  for (const float sum : c.host()) ASSERT_EQ(sum, 64.0f * value);
}

TEST(Matmul, RefusesWhatTheContractExcludes) {
  Device device(1);
  DeviceArray<float> x(device, std::vector{1.0f});
  const Matmul good{.m = 1, .n = 1, .k = 1, .a = x.data(), .b = x.data(), .c = x.data()};
  Matmul bad = good;
  bad.input_dtype = DType::kInt32;
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
  bad = good;
  bad.output_dtype = DType::kBFloat16;
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
  bad = good;
  bad.k = 4;
  bad.a_row_stride = 3;
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
  bad = good;
  bad.m = -1;
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
  bad = good;
  bad.a_sums = x.data();  // A is not transposed
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
  bad.transpose_a = true;
  bad.bias = x.data();
  EXPECT_THROW(matmul(device.stream(), bad), InternalError);
}

}  // namespace
}  // namespace triptych::test
