#include <benchmark/benchmark.h>

#include "kernels/matmul.h"

namespace triptych::test {
namespace {

/// What a call costs beside its arithmetic, whose rates `triptych bench gemm` prints.
void smallest_product(benchmark::State& state) {
  float a = 1.0f, b = 1.0f, c = 0.0f;
  Stream stream(1);
  for (auto _ : state) matmul(stream, {.m = 1, .n = 1, .k = 1, .a = &a, .b = &b, .c = &c});
}
BENCHMARK(smallest_product);

}  // namespace
}  // namespace triptych::test
