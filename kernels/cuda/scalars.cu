#include "kernels/cuda/common.cuh"
#include "kernels/scalars.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

__device__ bool is_present(int32_t value) {
  return value >= 0;
}
__device__ bool is_present(uint8_t value) {
  return value != 0;
}

// One block: a batch has few of these values.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads) count_values(const T* values, int64_t n, double* count) {
  __shared__ double warps[kBlockThreads / kWarpSize];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += kBlockThreads) sum += is_present(values[i]) ? 1.0 : 0.0;
  sum = block_sum<kBlockThreads>(sum, warps);
  if (threadIdx.x == 0) *count += sum;
}

struct AddDoubles {
  double* dst;
  const double* src;
  __device__ void operator()(int64_t i, Piece<1>) const { dst[i] = __dadd_rn(dst[i], src[i]); }
};

struct DivideDoubles {
  double* dst;
  const double* src;
  double factor;
  const double* by;
  __device__ void operator()(int64_t i, Piece<1>) const {
    dst[i] = *by == 0.0 ? 0.0 : __ddiv_rn(__dmul_rn(factor, src[i]), *by);
  }
};

template <typename T>
void count(Stream& stream, const void* values, int64_t n, double* sum) {
  count_values<<<1, kBlockThreads, 0, cuda_stream(stream)>>>(static_cast<const T*>(values), n, sum);
  check_launch("count_present");
}

}  // namespace

void count_present(Stream& stream, const void* values, DType dtype, int64_t n, double* sum) {
  if (dtype == DType::kInt32) return count<int32_t>(stream, values, n, sum);
  if (dtype == DType::kUInt8) return count<uint8_t>(stream, values, n, sum);
  unimplemented("count_present", dtype);
}

void add_doubles(Stream& stream, double* dst, const double* src, int64_t n) {
  launch_each_piece<1>(stream, "add_doubles", n, true, AddDoubles{dst, src});
}

void divide_doubles(Stream& stream, double* dst, const double* src, double factor, const double* by, int64_t n) {
  launch_each_piece<1>(stream, "divide_doubles", n, true, DivideDoubles{dst, src, factor, by});
}

}  // namespace triptych::kernels
