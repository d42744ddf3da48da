#include <algorithm>

#include "base/checked.h"
#include "kernels/cuda/common.cuh"
#include "kernels/strided_dims.h"

namespace triptych::kernels {
namespace {

using namespace cuda;

template <typename Word>
struct CopyStrided {
  const Word* src;
  Word* dst;
  StridedDims<2> dims;  // of words
  __device__ void operator()(int64_t row, int64_t i, Piece<1>) const {
    const auto offsets = dims.row_offsets(row);
    dst[offsets.of[1] + i * dims.strides[1][0]] = src[offsets.of[0] + i * dims.strides[0][0]];
  }
};

/// Elements that are `stride` apart.
template <int N, typename T>
__device__ inline Floats<N> load_strided(const T* p, int64_t stride, Piece<N> piece) {
  if (stride == 1) return load<N>(p, piece);
  Floats<N> result;
#pragma unroll
  for (int k = 0; k < N; ++k) result[k] = k < piece.count ? to_float(p[k * stride]) : 0.0f;
  return result;
}

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};

template <typename Operation, typename T>
struct BinaryStrided {
  const T* a;
  const T* b;
  T* out;
  StridedDims<2> dims;
  template <int N>
  __device__ void operator()(int64_t row, int64_t i, Piece<N> piece) const {
    const auto offsets = dims.row_offsets(row);
    const int64_t a_stride = dims.strides[0][0], b_stride = dims.strides[1][0];
    Floats<N> values = load_strided<N>(a + offsets.of[0] + i * a_stride, a_stride, piece);
    const Floats<N> others = load_strided<N>(b + offsets.of[1] + i * b_stride, b_stride, piece);
#pragma unroll
    for (int k = 0; k < N; ++k) values[k] = Operation()(values[k], others[k]);
    store(values, out + row * dims.sizes[0] + i, piece);
  }
};

template <typename Operation>
void binary(Stream& stream, const BinaryStridedArgs& args, std::string_view kernel) {
  with_float_type(args.dtype, kernel, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const auto dims = merge_dims<2>(args.dims, {args.a_strides, args.b_strides});
    constexpr int64_t kBytes = sizeof(T);
    bool aligned = aligned_16({args.out}, {dims.rank > 1 ? dims.sizes[0] * kBytes : 0});
    const void* const operands[] = {args.a, args.b};
    for (int array = 0; array < 2; ++array) {
      if (dims.strides[array][0] != 1) continue;  // not loaded by vectors
      aligned = aligned && aligned_16({operands[array]});
      for (int dim = 1; dim < dims.rank; ++dim)
        aligned = aligned && aligned_16({}, {dims.strides[array][dim] * kBytes});
    }
    launch_each_row_piece<kVectorSize<T>>(
        stream, kernel, dims.num_rows(), dims.sizes[0], aligned,
        BinaryStrided<Operation, T>{static_cast<const T*>(args.a), static_cast<const T*>(args.b),
                                    static_cast<T*>(args.out), dims});
  });
}

/// What a launch of sum_strided_kernel does: kept_lanes neighbouring sums a block, each by as many threads as remain.
struct SumPlan {
  StridedSum sum;
  int64_t chunk;    // what of a sum a block takes
  int kept_lanes;   // a power of two
  bool kept_first;  // whether neighbouring threads have neighbouring sums, else neighbours within a sum
  int64_t blocks() const { return ceil_div(sum.num_kept, kept_lanes); }
  int64_t chunks() const { return std::max<int64_t>(1, ceil_div(sum.num_summed, chunk)); }
};

SumPlan plan_sum(const StridedSum& sum) {
  SumPlan plan{sum, 1, 1, false};
  const auto distance = [](const StridedDims<1>& dims) {
    const int64_t stride = dims.strides[0][0];
    return dims.sizes[0] == 1 ? int64_t{1} << 62 : stride < 0 ? -stride : stride;
  };
  plan.kept_first = distance(sum.kept) < distance(sum.summed);
  // A warp side by side where the sums lie so; else only as many sums as leave each thread something of its own.
  int sum_lanes = plan.kept_first ? kBlockThreads / kWarpSize : kBlockThreads;
  while (sum_lanes > 1 && sum_lanes / 2 >= sum.num_summed) sum_lanes /= 2;
  plan.kept_lanes = kBlockThreads / sum_lanes;
  // As in sum_columns: about a thousand blocks, of which no thread has less than 16 elements.
  const int64_t useful = std::max<int64_t>(1, ceil_div(sum.num_summed, int64_t{16} * sum_lanes));
  const int64_t wanted = std::clamp(ceil_div(1024, plan.blocks()), int64_t{1}, useful);
  plan.chunk = std::max<int64_t>(1, ceil_div(sum.num_summed, wanted));
  return plan;
}

template <typename Out>
struct SumResult {
  Out* out;
  float factor;
  bool assign;
};

/// out[c, kept]: the sum over chunk c. With more chunks than one, `out` are partial sums.
template <typename X, typename Out>
__global__ void __launch_bounds__(kBlockThreads) sum_strided_kernel(const X* x, SumPlan plan, SumResult<Out> result) {
  __shared__ float shared[kBlockThreads];
  const int kept_lanes = plan.kept_lanes, sum_lanes = kBlockThreads / kept_lanes;
  const int thread = static_cast<int>(threadIdx.x);
  const int kept_lane = plan.kept_first ? thread % kept_lanes : thread / sum_lanes;
  const int sum_lane = plan.kept_first ? thread / kept_lanes : thread % sum_lanes;
  const int64_t begin = blockIdx.y * plan.chunk, end = min(plan.sum.num_summed, begin + plan.chunk);
  for (int64_t first = static_cast<int64_t>(blockIdx.x) * kept_lanes; first < plan.sum.num_kept;
       first += static_cast<int64_t>(gridDim.x) * kept_lanes) {
    const int64_t kept = first + kept_lane;
    float total = 0.0f;
    if (kept < plan.sum.num_kept) {
      const X* const from = x + plan.sum.kept.offsets_from<0>(kept).of[0];
      const auto value = [&](int64_t i) { return to_float(from[plan.sum.summed.offsets_from<0>(i).of[0]]); };
      int64_t i = begin + sum_lane;
      for (; i + 3 * sum_lanes < end; i += 4 * sum_lanes) {
        total += (value(i) + value(i + sum_lanes)) + (value(i + 2 * sum_lanes) + value(i + 3 * sum_lanes));
      }
      for (; i < end; i += sum_lanes) total += value(i);
    }
    float* const mine = shared + sum_lane * kept_lanes + kept_lane;
    *mine = total;
    for (int lanes = sum_lanes / 2; lanes > 0; lanes /= 2) {
      __syncthreads();
      if (sum_lane < lanes) *mine += mine[lanes * kept_lanes];
    }
    if (sum_lane == 0 && kept < plan.sum.num_kept) {
      Out* const out = result.out + blockIdx.y * plan.sum.num_kept + kept;
      const float sum = result.factor * *mine;
      *out = from_float<Out>(result.assign ? sum : to_float(*out) + sum);
    }
    __syncthreads();  // `shared` may be filled again
  }
}

template <typename X, typename Out>
void launch_sum(Stream& stream, const X* x, const SumPlan& plan, const SumResult<Out>& result) {
  const dim3 grid(grid_blocks(plan.blocks(), 1), narrow<unsigned>(plan.chunks()));
  sum_strided_kernel<X, Out><<<grid, kBlockThreads, 0, cuda_stream(stream)>>>(x, plan, result);
  check_launch("sum_strided");
}

template <typename X, typename Out>
void sum_in_chunks(Stream& stream, const SumStridedArgs& args, const StridedSum& sum) {
  const auto* const x = static_cast<const X*>(args.x);
  const SumResult<Out> result{static_cast<Out*>(args.out), args.factor, args.assign};
  const SumPlan plan = plan_sum(sum);
  if (plan.chunks() == 1) return launch_sum(stream, x, plan, result);
  auto* const partials =
      reinterpret_cast<float*>(stream.scratch(static_cast<std::size_t>(plan.chunks() * sum.num_kept) * sizeof(float)));
  launch_sum<X, float>(stream, x, plan, {partials, 1.0f, true});
  StridedSum of_partials{.num_kept = sum.num_kept, .num_summed = plan.chunks()};
  of_partials.kept.sizes[0] = sum.num_kept;
  of_partials.kept.strides[0][0] = 1;
  of_partials.summed.sizes[0] = plan.chunks();
  of_partials.summed.strides[0][0] = sum.num_kept;
  SumPlan whole = plan_sum(of_partials);
  whole.chunk = plan.chunks();
  launch_sum<float, Out>(stream, partials, whole, result);
}

}  // namespace

void copy_strided(Stream& stream, const CopyStridedArgs& args) {
  int64_t word_bytes = args.element_bytes;
  TRIPTYCH_CHECK(word_bytes == 1 || word_bytes == 2 || word_bytes == 4 || word_bytes == 8, "elements of {} bytes",
                 word_bytes);
  StridedDims<2> dims = merge_dims<2>(args.dims, {args.src_strides, args.dst_strides});
  if (dims.sizes[0] == 0) return;
  if (dims.strides[0][0] == 1 && dims.strides[1][0] == 1) {
    // Rows without gaps, in words of the widest kind that addresses, strides and length allow.
    uint64_t bits = reinterpret_cast<uintptr_t>(args.src) | reinterpret_cast<uintptr_t>(args.dst) |
                    static_cast<uint64_t>(dims.sizes[0] * args.element_bytes) | 16;
    for (int dim = 1; dim < dims.rank; ++dim) {
      for (const auto& strides : dims.strides) bits |= static_cast<uint64_t>(strides[dim] * args.element_bytes);
    }
    word_bytes = static_cast<int64_t>(bits & -bits);
    dims.sizes[0] = dims.sizes[0] * args.element_bytes / word_bytes;
    for (int dim = 1; dim < dims.rank; ++dim) {
      for (auto& strides : dims.strides) strides[dim] = strides[dim] * args.element_bytes / word_bytes;
    }
  }
  const auto copy = [&](auto word) {
    using Word = decltype(word);
    launch_each_row_piece<1>(stream, "copy_strided", dims.num_rows(), dims.sizes[0], true,
                             CopyStrided<Word>{static_cast<const Word*>(args.src), static_cast<Word*>(args.dst), dims});
  };
  switch (word_bytes) {
    case 16:
      return copy(uint4());
    case 8:
      return copy(uint2());
    case 4:
      return copy(uint32_t());
    case 2:
      return copy(uint16_t());
    default:
      return copy(uint8_t());
  }
}

void add_strided(Stream& stream, const BinaryStridedArgs& args) {
  binary<Add>(stream, args, "add_strided");
}

void multiply_strided(Stream& stream, const BinaryStridedArgs& args) {
  binary<Multiply>(stream, args, "multiply_strided");
}

void sum_strided(Stream& stream, const SumStridedArgs& args) {
  with_float_type(args.dtype, "sum_strided", [&](auto tag) {
    using X = typename decltype(tag)::Type;
    const StridedSum sum = resolve_sum(args);
    if (sum.num_kept == 0) return;
    if (args.out_dtype == args.dtype) {
      sum_in_chunks<X, X>(stream, args, sum);
    } else {
      sum_in_chunks<X, float>(stream, args, sum);
    }
  });
}

}  // namespace triptych::kernels
