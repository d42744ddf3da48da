#include "parallel/reduce.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "base/error.h"

namespace triptych::parallel {
namespace {

// Partial sums stay in the first-level cache, and `out` is written last, so that it may be a source.
constexpr int64_t kBlockBytes = 4096;

// Integers wrap, as they do in MPI, without being undefined.
struct Sum {
  template <typename T>
  T operator()(T a, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
    } else {
      return a + b;
    }
  }
};

struct Max {
  template <typename T>
  T operator()(T a, T b) const {
    return a < b ? b : a;
  }
};

template <typename T, typename Combine>
void combine_rows(const T* a, const T* b, T* out, int64_t count) {
#pragma GCC ivdep  // `out` is a source or apart from it, so no iteration needs another's result
  for (int64_t i = 0; i < count; ++i) out[i] = Combine{}(a[i], b[i]);
}

template <typename T, typename Combine>
void reduce_typed(std::span<const void* const> sources, void* out, int64_t count) {
  constexpr int64_t kBlock = kBlockBytes / static_cast<int64_t>(sizeof(T));
  alignas(64) std::array<T, kBlock> partial;
  for (int64_t begin = 0; begin < count; begin += kBlock) {
    const int64_t length = std::min(kBlock, count - begin);
    const auto row = [&](std::size_t r) { return static_cast<const T*>(sources[r]) + begin; };
    T* const result = static_cast<T*>(out) + begin;
    const T* so_far = row(0);
    for (std::size_t r = 1; r < sources.size(); ++r) {
      T* const to = r + 1 == sources.size() ? result : partial.data();
      combine_rows<T, Combine>(so_far, row(r), to, length);
      so_far = to;
    }
    if (sources.size() == 1 && so_far != result) {
      std::memcpy(result, so_far, static_cast<std::size_t>(length) * sizeof(T));
    }
  }
}

template <typename T>
void reduce_by(std::span<const void* const> sources, void* out, int64_t count, ReduceOp reduce) {
  if (reduce == ReduceOp::kSum) {
    reduce_typed<T, Sum>(sources, out, count);
  } else {
    reduce_typed<T, Max>(sources, out, count);
  }
}

}  // namespace

void reduce_rows(std::span<const void* const> sources, void* out, int64_t count, DType dtype, ReduceOp reduce) {
  switch (dtype) {
    case DType::kFloat32:
      return reduce_by<float>(sources, out, count, reduce);
    case DType::kFloat64:
      return reduce_by<double>(sources, out, count, reduce);
    case DType::kInt32:
      return reduce_by<int32_t>(sources, out, count, reduce);
    case DType::kInt64:
      return reduce_by<int64_t>(sources, out, count, reduce);
    case DType::kBFloat16:
    case DType::kFloat16:
    case DType::kUInt8:
      break;
  }
  throw InternalError("reduce", fmt::format("{} has no reduction", dtype_name(dtype)));
}

}  // namespace triptych::parallel
