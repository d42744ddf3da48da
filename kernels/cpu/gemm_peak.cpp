#include "kernels/gemm_peak.h"

#include <algorithm>
#include <chrono>
#include <new>
#include <vector>

#include "base/error.h"
#include "kernels/gemm_table.h"

namespace triptych::kernels {
namespace {

/// Matrices with room for the largest of some products, full of small numbers of the right type.
class Operands {
 public:
  explicit Operands(std::size_t max_elements, DType dtype) {
    for (std::vector<float>* matrix : {&a, &b, &c}) {
      matrix->resize(max_elements);
      for (std::size_t i = 0; i < max_elements; ++i) {
        const float value = static_cast<float>(i % 13) * 0.125f - 0.75f;
        if (dtype == DType::kBFloat16) {
          reinterpret_cast<BFloat16*>(matrix->data())[i] = BFloat16(value);
        } else {
          (*matrix)[i] = value;
        }
      }
    }
  }
  std::vector<float> a, b, c;
};

/// Repeats the product for `seconds`, and sets the rate of the fastest run.
void measure(GemmRate& rate, Operands& operands, double seconds, Stream& stream) {
  using Clock = std::chrono::steady_clock;
  const Matmul product = product_of(rate, operands.a.data(), operands.b.data(), operands.c.data());
  matmul(stream, product);  // prepares it
  const Clock::time_point begin = Clock::now();
  for (Clock::time_point before = begin, after; (before - begin) < std::chrono::duration<double>(seconds);
       before = after) {
    matmul(stream, product);
    after = Clock::now();
    rate.gflops = std::max(rate.gflops, gflop_of(rate) / std::chrono::duration<double>(after - before).count());
  }
}

void check_dtype(DType dtype) {
  TRIPTYCH_CHECK(dtype == DType::kFloat32 || dtype == DType::kBFloat16, "no matrix products of {} on the CPU",
                 dtype_name(dtype));
}

}  // namespace

std::vector<GemmRate> measure_gemm_table(Device& device, DType dtype) {
  check_dtype(dtype);
  std::vector<GemmRate> rates =
      linear_products({4160, 2048}, {{256, 256}, {768, 256}, {1024, 256}, {256, 1024}, {768, 768}, {192, 64}}, dtype);
  Operands operands(4160 * 1024, dtype);
  for (GemmRate& rate : rates) measure(rate, operands, 0.1, device.stream());
  return rates;
}

std::optional<double> measure_gemm_peak(Device& device, DType dtype) try {
  check_dtype(dtype);
  std::vector<GemmRate> rates = {{.m = 1024, .n = 1024, .k = 1024, .dtype = dtype},
                                 {.m = 512, .n = 512, .k = 512, .dtype = dtype},
                                 {.m = 2048, .n = 256, .k = 1024, .transpose_b = true, .dtype = dtype},
                                 {.m = 2048, .n = 768, .k = 256, .dtype = dtype}};
  Operands operands(2048 * 1024, dtype);
  double best_gflops = 0;
  for (GemmRate& rate : rates) {
    measure(rate, operands, 0.09, device.stream());
    best_gflops = std::max(best_gflops, rate.gflops);
  }
  return best_gflops * 1e9;
} catch (const std::bad_alloc&) {
  return std::nullopt;
}

}  // namespace triptych::kernels
