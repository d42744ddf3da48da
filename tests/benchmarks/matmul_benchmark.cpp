#include <array>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/matmul.h"

namespace triptych {
namespace {

enum Form { kForward, kInputGradient, kWeightGradient };

/// One of the three products of y[rows, out] = x[rows, in] w[out, in]^T, on one thread.
/// Arguments: form, bfloat16, rows, out, in. The rate is in FLOP/s.
void linear(benchmark::State& state) {
  const int64_t rows = state.range(2), out = state.range(3), in = state.range(4);
  const DType dtype = state.range(1) != 0 ? DType::kBFloat16 : DType::kFloat32;
  const auto zeros = [](int64_t count) { return std::vector<float>(static_cast<std::size_t>(count)); };
  std::vector<float> x = zeros(rows * in), w = zeros(out * in), y = zeros(rows * out), bias = zeros(out);

  Matmul product{.m = rows, .n = out, .k = in, .a = x.data(), .b = w.data(), .transpose_b = true, .c = y.data()};
  product.bias = bias.data();
  if (state.range(0) == kInputGradient) {
    product = {.m = rows, .n = in, .k = out, .a = y.data(), .b = w.data(), .c = x.data()};
  } else if (state.range(0) == kWeightGradient) {
    product = {.m = out, .n = in, .k = rows, .a = y.data(), .transpose_a = true, .b = x.data(), .c = w.data()};
  }
  product.input_dtype = dtype;
  product.output_dtype = state.range(0) == kWeightGradient ? DType::kFloat32 : dtype;

  Stream stream(1);
  matmul(stream, product);
  for (auto _ : state) matmul(stream, product);
  state.counters["flops"] =
      benchmark::Counter(2.0 * static_cast<double>(rows * out * in), benchmark::Counter::kIsIterationInvariantRate);
}

void linear_sizes(benchmark::internal::Benchmark* made) {
  made->ArgNames({"form", "bf16", "rows", "out", "in"});
  for (int64_t form : {kForward, kInputGradient, kWeightGradient}) {
    for (int64_t bfloat16 : {0, 1}) {
      for (int64_t rows : {4160, 2048}) {
        for (const auto& [out, in] :
             {std::array<int64_t, 2>{256, 256}, {768, 256}, {1024, 256}, {256, 1024}, {192, 64}}) {
          made->Args({form, bfloat16, rows, out, in});
        }
      }
    }
  }
}
BENCHMARK(linear)->Apply(linear_sizes)->Unit(benchmark::kMicrosecond);

/// What a call costs beside its arithmetic.
void smallest_product(benchmark::State& state) {
  float a = 1.0f, b = 1.0f, c = 0.0f;
  Stream stream(1);
  for (auto _ : state) matmul(stream, {.m = 1, .n = 1, .k = 1, .a = &a, .b = &b, .c = &c});
}
BENCHMARK(smallest_product);

}  // namespace
}  // namespace triptych
