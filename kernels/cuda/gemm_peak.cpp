#include "kernels/gemm_peak.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "kernels/cuda/workspace.h"
#include "kernels/elementwise.h"
#include "kernels/gemm_table.h"
#include "kernels/random.h"

namespace triptych::kernels {
namespace {

/// Normally distributed numbers: a GPU is faster on zeros, which cost its arithmetic no power.
class Operand {
 public:
  Operand(Stream& stream, int64_t num_elements, DType dtype) {
    const auto bytes = static_cast<std::size_t>(num_elements) * sizeof(float);  // C may be float32
    data_ = memory_.get(bytes, stream);
    cuda::Workspace values;
    auto* const floats = static_cast<float*>(dtype == DType::kFloat32 ? data_ : values.get(bytes, stream));
    fill_normal(stream, {.out = floats, .rows = 1, .cols = num_elements, .key = random_key(1, "gemm_peak", 0)});
    if (dtype != DType::kFloat32) cast(stream, floats, DType::kFloat32, data_, dtype, num_elements);
  }
  void* data() const { return data_; }

 private:
  cuda::Workspace memory_;
  void* data_ = nullptr;
};

/// Matrices with room for the largest of some products.
struct Operands {
  Operands(Stream& stream, int64_t max_elements, DType dtype)
      : a(stream, max_elements, dtype), b(stream, max_elements, dtype), c(stream, max_elements, dtype) {}
  Operand a, b, c;
};

/// Seconds that `count` products take, from an idle GPU to an idle GPU.
double time_products(Stream& stream, const Matmul& product, int64_t count) {
  using Clock = std::chrono::steady_clock;
  TRIPTYCH_CUDA(cudaStreamSynchronize(cuda_stream(stream)));
  const Clock::time_point begin = Clock::now();
  for (int64_t i = 0; i < count; ++i) matmul(stream, product);
  TRIPTYCH_CUDA(cudaStreamSynchronize(cuda_stream(stream)));
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Repeats the product for about `seconds`, and sets the rate of the fastest run. Returns the seconds of one product.
double measure(GemmRate& rate, const Operands& operands, double seconds, Stream& stream) {
  const Matmul product = product_of(rate, operands.a.data(), operands.b.data(), operands.c.data());
  time_products(stream, product, 1);  // prepares it
  // So many at once that the launches and the synchronisation, some 20 us, do not show.
  const double estimate = time_products(stream, product, 1);
  const int64_t count = std::clamp(static_cast<int64_t>(0.005 / estimate), int64_t{1}, int64_t{1000});
  double best = estimate;
  for (double spent = estimate; spent < seconds;) {
    const double time = time_products(stream, product, count);
    spent += time;
    best = std::min(best, time / static_cast<double>(count));
  }
  rate.gflops = gflop_of(rate) / best;
  return best;
}

void check_dtype(DType dtype) {
  TRIPTYCH_CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16 || dtype == DType::kFloat16,
                 "no matrix products of {} under CUDA", dtype_name(dtype));
}

}  // namespace

std::vector<GemmRate> measure_gemm_table(Stream& stream, DType dtype) {
  check_dtype(dtype);
  std::vector<GemmRate> rates =
      linear_products({32768, 8192}, {{768, 768}, {2304, 768}, {3072, 768}, {768, 3072}, {4096, 1024}}, dtype);
  const Operands operands(stream, 32768 * 4096, dtype);
  for (GemmRate& rate : rates) measure(rate, operands, 0.1, stream);
  return rates;
}

double measure_gemm_peak(Stream& stream, DType dtype) {
  check_dtype(dtype);
  // Larger and larger, until a product is long enough to fill any GPU.
  constexpr double kLongEnoughSeconds = 5e-3;
  double best_gflops = 0.0, seconds = 0.0;
  for (int64_t n = 256; n <= 8192 && seconds < kLongEnoughSeconds; n *= 2) {
    const Operands operands(stream, n * n, dtype);
    GemmRate rate{.m = n, .n = n, .k = n, .transpose_b = true, .dtype = dtype};
    seconds = measure(rate, operands, 0.05, stream);
    best_gflops = std::max(best_gflops, rate.gflops);
  }
  return best_gflops * 1e9;
}

}  // namespace triptych::kernels
