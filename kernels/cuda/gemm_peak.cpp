#include "kernels/gemm_peak.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "base/error.h"
#include "device/cuda/cuda_device.h"
#include "device/out_of_memory.h"
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

/// Memory while the operands of n x n products are made: three, and the float32 values of one.
std::size_t operand_bytes(int64_t n) {
  return 4 * sizeof(float) * static_cast<std::size_t>(n * n);
}

/// Waits until the device is idle or a watch throws: of a communicator whose peer has died. Without naps, which are
/// longer than what is measured here.
void wait(Device& device) {
  for (const Event end = device.record(); !end.done(); std::this_thread::yield()) device.state().watches->poll();
}

/// Seconds that `count` products take, from an idle GPU to an idle GPU.
double time_products(Device& device, const Matmul& product, int64_t count) {
  using Clock = std::chrono::steady_clock;
  wait(device);
  const Clock::time_point begin = Clock::now();
  for (int64_t i = 0; i < count; ++i) matmul(device.stream(), product);
  wait(device);
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

/// Repeats the product for about `seconds`, and sets the rate of the fastest run. Returns the seconds of one product.
double measure(GemmRate& rate, const Operands& operands, double seconds, Device& device) {
  const Matmul product = product_of(rate, operands.a.data(), operands.b.data(), operands.c.data());
  time_products(device, product, 1);  // prepares it
  // So many at once that the launches and the wait, some 20 us, do not show.
  const double estimate = time_products(device, product, 1);
  const int64_t count = std::clamp(static_cast<int64_t>(0.005 / estimate), int64_t{1}, int64_t{1000});
  double best = estimate;
  for (double spent = estimate; spent < seconds;) {
    const double time = time_products(device, product, count);
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

std::vector<GemmRate> measure_gemm_table(Device& device, DType dtype) {
  check_dtype(dtype);
  std::vector<GemmRate> rates =
      linear_products({32768, 8192}, {{768, 768}, {2304, 768}, {3072, 768}, {768, 3072}, {4096, 1024}}, dtype);
  const Operands operands(device.stream(), 32768 * 4096, dtype);
  for (GemmRate& rate : rates) measure(rate, operands, 0.1, device);
  return rates;
}

std::optional<double> measure_gemm_peak(Device& device, DType dtype) {
  check_dtype(dtype);
  // Larger and larger, until a product is long enough to fill any GPU. One of the last but one size is the least that
  // fills the largest: 1024 tiles of 128 x 128, 8 for each of some 130 multiprocessors.
  constexpr double kLongEnoughSeconds = 5e-3;
  constexpr int64_t kFirst = 256, kLeast = 4096, kLast = 8192;
  MemoryPool& pool = *device.stream().pool();
  const std::size_t held_bytes = pool.held_bytes(), most_bytes = pool.available_bytes() / 2;
  double best_gflops = 0.0, seconds = 0.0;
  bool shows_peak = false;
  try {
    for (int64_t n = kFirst; n <= kLast && seconds < kLongEnoughSeconds && operand_bytes(n) <= most_bytes; n *= 2) {
      const Operands operands(device.stream(), n * n, dtype);
      GemmRate rate{.m = n, .n = n, .k = n, .transpose_b = true, .dtype = dtype};
      seconds = measure(rate, operands, 0.05, device);
      best_gflops = std::max(best_gflops, rate.gflops);
      shows_peak = n >= kLeast || seconds >= kLongEnoughSeconds;
    }
  } catch (const OutOfMemory&) {  // it is in pieces, or others take it; the sizes before have counted
  }
  wait(device);  // or what was freed last would not be free yet
  pool.give_back(held_bytes);
  return shows_peak ? std::optional(best_gflops * 1e9) : std::nullopt;
}

}  // namespace triptych::kernels
