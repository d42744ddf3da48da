// The rates of the kernels other than matrix products and attention, on one thread: bytes read and written, to be
// compared with a memcpy's over as many bytes.

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include <benchmark/benchmark.h>

#include "kernels/activation.h"
#include "kernels/contrastive.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/layer_norm.h"
#include "kernels/optimizer.h"
#include "kernels/patchify.h"
#include "kernels/random.h"
#include "kernels/residual_norm.h"

namespace triptych::test {
namespace {

constexpr int64_t kRows = 4160;  // 64 images of 65 tokens

std::vector<float> normals(int64_t n) {
  Stream stream(1);
  std::vector<float> values(static_cast<std::size_t>(n));
  fill_normal(stream, {values.data(), 1, n, 0, n, random_key(1, "bench", 0), 0.0f, 1.0f});
  return values;
}

template <typename T>
std::vector<T> activations(int64_t n) {
  const std::vector<float> values = normals(n);
  return std::vector<T>(values.begin(), values.end());
}

/// Rows of activations, `tensors` of which a call reads or writes.
template <typename T>
void set_rate(benchmark::State& state, int64_t tensors) {
  const int64_t bytes = tensors * kRows * state.range(0) * static_cast<int64_t>(sizeof(T));
  state.SetBytesProcessed(state.iterations() * bytes);
}

template <typename T>
void copy(benchmark::State& state) {
  const std::vector<T> src = activations<T>(kRows * state.range(0));
  std::vector<T> dst(src.size());
  for (auto _ : state) {
    std::memcpy(dst.data(), src.data(), src.size() * sizeof(T));
    benchmark::ClobberMemory();
  }
  set_rate<T>(state, 2);
}

template <typename T>
void layer_norm_forward(benchmark::State& state) {
  Stream stream(1);
  const int64_t cols = state.range(0);
  const std::vector<T> x = activations<T>(kRows * cols);
  std::vector<T> y(x.size());
  std::vector<float> weight = normals(cols), mean(kRows), rstd(kRows);
  for (auto _ : state) {
    kernels::layer_norm_forward(stream, {x.data(), weight.data(), weight.data(), y.data(), mean.data(), rstd.data(),
                                         kRows, cols, kLayerNormEpsilon, dtype_of<T>});
  }
  set_rate<T>(state, 2);
}

/// With the residual branch's gradient, in place: as training calls it.
template <typename T>
void layer_norm_backward(benchmark::State& state) {
  Stream stream(1);
  const int64_t cols = state.range(0);
  const std::vector<T> x = activations<T>(kRows * cols), dy = x, add = x;
  std::vector<T> dx(x.size());
  std::vector<float> weight = normals(cols), dweight = weight, dbias = weight, mean(kRows), rstd(kRows, 1.0f);
  for (auto _ : state) {
    kernels::layer_norm_backward(stream, {dy.data(), x.data(), weight.data(), mean.data(), rstd.data(), add.data(),
                                          dx.data(), dweight.data(), dbias.data(), kRows, cols, dtype_of<T>});
  }
  set_rate<T>(state, 4);
}

template <typename T>
void gelu_forward(benchmark::State& state) {
  Stream stream(1);
  const std::vector<T> h = activations<T>(kRows * state.range(0));
  std::vector<T> a(h.size());
  for (auto _ : state) {
    activation_forward(stream, {h.data(), a.data(), kRows, state.range(0), Activation::kGelu, dtype_of<T>});
  }
  set_rate<T>(state, 2);
}

template <typename T>
void gelu_backward(benchmark::State& state) {
  Stream stream(1);
  const std::vector<T> h = activations<T>(kRows * state.range(0)), da = h;
  std::vector<T> dh(h.size()), a(h.size());
  for (auto _ : state) {
    activation_backward(
        stream, {h.data(), da.data(), dh.data(), a.data(), kRows, state.range(0), Activation::kGelu, dtype_of<T>});
  }
  set_rate<T>(state, 4);
}

template <typename T>
void residual_forward(benchmark::State& state) {
  Stream stream(1);
  const int64_t cols = state.range(0);
  const std::vector<T> x = activations<T>(kRows * cols), z = x;
  const std::vector<float> bias = normals(cols);
  std::vector<T> out(x.size());
  const float p = static_cast<float>(state.range(1)) / 100.0f;
  for (auto _ : state) {
    kernels::residual_forward(stream, {x.data(),
                                       z.data(),
                                       bias.data(),
                                       out.data(),
                                       dtype_of<T>,
                                       dtype_of<T>,
                                       {64, 65, cols, 0, 0, 65, random_key(1, "bench", 0), p}});
  }
  set_rate<T>(state, 3);
}

/// A residual and the norm behind it, forward and backward: joined, or one kernel after the other. The rate counts the
/// joined kernels' bytes for both.
template <typename T, bool kJoined>
void residual_norm(benchmark::State& state) {
  Stream stream(1);
  const int64_t cols = state.range(0);
  const std::vector<T> x = activations<T>(kRows * cols), z = x, dy = x, add = x;
  const std::vector<float> bias = normals(cols), weight = bias;
  std::vector<T> sum(x.size()), y(x.size()), dx(x.size()), dz(x.size());
  std::vector<float> mean(kRows), rstd(kRows), dweight = bias, dnorm_bias = bias, dbias = bias;
  const DropoutArgs dropout{
      64, 65, cols, 0, 0, 65, random_key(1, "bench", 0), static_cast<float>(state.range(1)) / 100.0f};
  const ResidualForwardArgs residual{x.data(), z.data(), bias.data(), sum.data(), dtype_of<T>, dtype_of<T>, dropout};
  const LayerNormForwardArgs norm{sum.data(),  weight.data(), bias.data(), y.data(),          mean.data(),
                                  rstd.data(), kRows,         cols,        kLayerNormEpsilon, dtype_of<T>};
  const LayerNormBackwardArgs norm_backward{dy.data(),         sum.data(), weight.data(), mean.data(),
                                            rstd.data(),       add.data(), dx.data(),     dweight.data(),
                                            dnorm_bias.data(), kRows,      cols,          dtype_of<T>};
  const ResidualBackwardArgs branch_backward{dx.data(), dropout.p > 0 ? dz.data() : nullptr, dbias.data(), dtype_of<T>,
                                             dropout};
  for (auto _ : state) {
    if constexpr (kJoined) {
      residual_norm_forward(stream, residual, norm);
      residual_norm_backward(stream, norm_backward, branch_backward);
    } else {
      residual_forward(stream, residual);
      layer_norm_forward(stream, norm);
      layer_norm_backward(stream, norm_backward);
      residual_backward(stream, branch_backward);
    }
  }
  set_rate<T>(state, dropout.p > 0 ? 9 : 8);
}

template <typename T>
void sum_rows(benchmark::State& state) {
  Stream stream(1);
  const int64_t cols = state.range(0);
  const std::vector<T> x = activations<T>(kRows * cols);
  std::vector<float> out(static_cast<std::size_t>(cols));
  for (auto _ : state) kernels::sum_rows(stream, {x.data(), out.data(), kRows, cols, cols, dtype_of<T>});
  set_rate<T>(state, 1);
}

void to_bfloat16(benchmark::State& state) {
  Stream stream(1);
  const std::vector<float> src = normals(kRows * state.range(0));
  std::vector<BFloat16> dst(src.size());
  const auto n = static_cast<int64_t>(src.size());
  for (auto _ : state) cast(stream, src.data(), DType::kFloat32, dst.data(), DType::kBFloat16, n);
  set_rate<BFloat16>(state, 3);
}

void update(benchmark::State& state) {
  Stream stream(1);
  const std::vector<float> grad = normals(kRows * state.range(0));
  std::vector<float> master = grad, m(grad.size()), v(grad.size());
  std::vector<BFloat16> bf16_copy(grad.size());
  const AdamWTensor tensor{.master = master.data(),
                           .m = m.data(),
                           .v = v.data(),
                           .grad = grad.data(),
                           .copy = bf16_copy.data(),
                           .n = kRows * state.range(0)};
  UpdateState update_state;
  update_state.num_updates = update_state.apply = 1;
  for (auto _ : state) adamw(stream, {.tensors = {&tensor, 1}, .lr = 1e-3f, .state = &update_state});
  set_rate<BFloat16>(state, 2 * 7 + 1);
}

void gradient_norm(benchmark::State& state) {
  Stream stream(1);
  const std::vector<float> grad = normals(kRows * state.range(0));
  const FloatSpan tensor{grad.data(), static_cast<int64_t>(grad.size())};
  double sum = 0.0;
  for (auto _ : state) {
    sum_of_squares(stream, {&tensor, 1}, &sum);
    benchmark::DoNotOptimize(sum);
  }
  set_rate<float>(state, 1);
}

void initialise(benchmark::State& state) {
  Stream stream(1);
  const int64_t n = kRows * state.range(0);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (auto _ : state) fill_normal(stream, {out.data(), 1, n, 0, n, random_key(1, "bench", 0), 0.0f, 0.02f});
  state.SetItemsProcessed(state.iterations() * n);
}

void contrastive(benchmark::State& state, bool sigmoid) {
  Stream stream(1);
  const int64_t rows = 256, cols = 4096;
  const std::vector<float> kept = normals(rows * cols);
  std::vector<float> dots(kept.size());
  const float log_scale = std::log(10.0f), bias = -10.0f;
  ContrastiveSums sums;
  const ContrastiveBlock block{.dots = dots.data(), .rows = rows, .cols = cols, .num_own = rows};
  const ContrastiveTerms terms{.log_scale = &log_scale, .bias = &bias, .sums = &sums};
  const float lowest = std::numeric_limits<float>::lowest();
  std::vector<float> statistics(static_cast<std::size_t>(3 * (rows + cols)), lowest);
  std::fill(statistics.begin() + 2 * (rows + cols), statistics.end(), 0.0f);
  std::vector<float> softmax(statistics.size());
  const auto of_statistics = [&](int64_t first) {
    float* const data = statistics.data() + first;
    return InfoNceStatistics{data, data + rows + cols, data + 2 * (rows + cols)};
  };
  const auto of_softmax = [&](int64_t first) {
    float* const data = softmax.data() + first;
    return InfoNceSoftmax{data, data + rows + cols, data + 2 * (rows + cols)};
  };
  for (auto _ : state) {
    std::memcpy(dots.data(), kept.data(), kept.size() * sizeof(float));
    if (sigmoid) {
      sigmoid_block(stream, block, terms);
    } else {
      info_nce_statistics(stream, block, terms, of_statistics(0), of_statistics(rows));
      info_nce_softmax(stream, {.statistics = of_statistics(0), .n = rows, .softmax = of_softmax(0)}, terms);
      info_nce_softmax(stream, {.statistics = of_statistics(rows), .n = rows, .softmax = of_softmax(rows)}, terms);
      info_nce_gradients(stream, block, terms, of_softmax(0), of_softmax(rows));
    }
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}

template <typename T>
void cross_entropy(benchmark::State& state) {
  Stream stream(1);
  const int64_t rows = 128, cols = 32768;
  const std::vector<T> logits = activations<T>(rows * cols);
  std::vector<T> dlogits(logits.size());
  const std::vector<int32_t> targets(static_cast<std::size_t>(rows), 12345);
  std::vector<float> maximum(static_cast<std::size_t>(rows)), target_logit = maximum, others = maximum;
  const CrossEntropySlice slice{
      .logits = logits.data(), .targets = targets.data(), .rows = rows, .cols = cols, .dtype = dtype_of<T>};
  const CrossEntropyRows all{maximum.data(), target_logit.data(), others.data()};
  const double dloss = 1.0;
  cross_entropy_rows(stream, slice, all);
  for (auto _ : state) {
    if (state.range(0) == 0) {
      cross_entropy_rows(stream, slice, all);
    } else {
      cross_entropy_backward(stream, slice, all, 1.0, &dloss, dlogits.data());
    }
    benchmark::ClobberMemory();
  }
  state.SetItemsProcessed(state.iterations() * rows * cols);
}

void patches(benchmark::State& state) {
  Stream stream(1);
  const int64_t batch = 16, size = 224;
  const std::vector<uint8_t> pixels(static_cast<std::size_t>(batch * size * size * 3), 100);
  std::vector<BFloat16> out(pixels.size());
  for (auto _ : state) {
    patchify(stream,
             {pixels.data(), out.data(), batch, size, 16, {0.5f, 0.5f, 0.5f}, {0.5f, 0.5f, 0.5f}, DType::kBFloat16});
  }
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(pixels.size()));
}

#define TRIPTYCH_BENCH_TYPES(name)             \
  BENCHMARK(name<float>)->Arg(256)->Arg(1024); \
  BENCHMARK(name<BFloat16>)->Arg(256)->Arg(1024)

TRIPTYCH_BENCH_TYPES(copy);
TRIPTYCH_BENCH_TYPES(layer_norm_forward);
TRIPTYCH_BENCH_TYPES(layer_norm_backward);
TRIPTYCH_BENCH_TYPES(gelu_forward);
TRIPTYCH_BENCH_TYPES(gelu_backward);
#define TRIPTYCH_BENCH_RESIDUAL_NORM(T, joined) \
  BENCHMARK(residual_norm<T, joined>)->ArgNames({"cols", "percent"})->Args({768, 0})->Args({768, 10})
TRIPTYCH_BENCH_RESIDUAL_NORM(float, false);
TRIPTYCH_BENCH_RESIDUAL_NORM(float, true);
TRIPTYCH_BENCH_RESIDUAL_NORM(BFloat16, false);
TRIPTYCH_BENCH_RESIDUAL_NORM(BFloat16, true);
BENCHMARK(residual_forward<float>)->ArgNames({"cols", "percent"})->Args({256, 0})->Args({256, 10})->Args({1024, 10});
BENCHMARK(residual_forward<BFloat16>)->ArgNames({"cols", "percent"})->Args({256, 0})->Args({256, 10})->Args({1024, 10});
TRIPTYCH_BENCH_TYPES(sum_rows);
BENCHMARK(to_bfloat16)->Arg(256)->Arg(1024);
BENCHMARK(update)->Arg(256)->Arg(1024);
BENCHMARK(gradient_norm)->Arg(256)->Arg(1024);
BENCHMARK(initialise)->Arg(256);
BENCHMARK_CAPTURE(contrastive, info_nce, false);
BENCHMARK_CAPTURE(contrastive, sigmoid, true);
BENCHMARK(cross_entropy<float>)->ArgName("backward")->Arg(0)->Arg(1);
BENCHMARK(cross_entropy<BFloat16>)->ArgName("backward")->Arg(0)->Arg(1);
BENCHMARK(patches);

}  // namespace
}  // namespace triptych::test
