#include "kernels/matmul.h"

#include <algorithm>
#include <array>
#include <bit>
#include <list>
#include <unordered_map>
#include <utility>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/error.h"
#include "kernels/cpu/matmul_prepared.h"

namespace triptych {
namespace {

/// What a prepared primitive depends on: everything of a Matmul but its addresses.
struct Key {
  std::array<int64_t, 10> sizes;
  std::array<uint8_t, 8> kinds;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const {
    uint64_t hash = 0;
    const auto mix = [&hash](uint64_t value) { hash = (hash ^ value) * 0x9e3779b97f4a7c15u + (hash >> 29); };
    for (int64_t size : key.sizes) mix(static_cast<uint64_t>(size));
    mix(std::bit_cast<uint64_t>(key.kinds));
    return hash ^ (hash >> 32);
  }
};

/// The engine, and the prepared primitives from the most to the least recently used.
struct MatmulState {
  static constexpr std::size_t kMaxPrepared = 512;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::list<std::pair<Key, cpu::PreparedMatmul>> prepared;
  std::unordered_map<Key, decltype(prepared)::iterator, KeyHash> by_key;
};

/// oneDNN runs on as many threads as OpenMP would give the calling thread; that setting is the thread's own.
class NumThreadsScope {
 public:
  explicit NumThreadsScope(int num_threads) : before_(omp_get_max_threads()) {
    if (before_ != num_threads) omp_set_num_threads(num_threads);
    changed_ = before_ != num_threads;
  }
  ~NumThreadsScope() {
    if (changed_) omp_set_num_threads(before_);
  }
  NumThreadsScope(const NumThreadsScope&) = delete;
  NumThreadsScope& operator=(const NumThreadsScope&) = delete;

 private:
  int before_;
  bool changed_ = false;
};

/// Strides with their defaults filled in and the contract checked.
Matmul resolve(Matmul p) {
  const bool float_inputs = p.input_dtype == DType::kFloat32;
  TRIPTYCH_CHECK(float_inputs || p.input_dtype == DType::kBFloat16, "matmul has no CPU implementation for inputs of {}",
                 dtype_name(p.input_dtype));
  TRIPTYCH_CHECK(p.output_dtype == DType::kFloat32 || (p.output_dtype == DType::kBFloat16 && !float_inputs),
                 "matmul has no CPU implementation from {} to {}", dtype_name(p.input_dtype),
                 dtype_name(p.output_dtype));
  TRIPTYCH_CHECK(p.m >= 0 && p.n >= 0 && p.k >= 0 && p.batch >= 0, "m {}, n {}, k {}, batch {}", p.m, p.n, p.k,
                 p.batch);
  const auto row_stride = [](int64_t given, int64_t row_length, const char* name) {
    TRIPTYCH_CHECK(given == 0 || given >= row_length, "rows of {} are {} long but {} apart", name, row_length, given);
    return given == 0 ? std::max<int64_t>(row_length, 1) : given;
  };
  p.a_row_stride = row_stride(p.a_row_stride, p.transpose_a ? p.m : p.k, "A");
  p.b_row_stride = row_stride(p.b_row_stride, p.transpose_b ? p.k : p.n, "B");
  p.c_row_stride = row_stride(p.c_row_stride, p.n, "C");
  if (p.c_batch_stride == 0) p.c_batch_stride = p.m * p.c_row_stride;
  return p;
}

Key key_of(const Matmul& p) {
  return {{p.m, p.n, p.k, p.a_row_stride, p.b_row_stride, p.c_row_stride, p.batch, p.a_batch_stride, p.b_batch_stride,
           p.c_batch_stride},
          {p.transpose_a, p.transpose_b, p.accumulate, p.bias != nullptr, static_cast<uint8_t>(p.input_dtype),
           static_cast<uint8_t>(p.output_dtype), 0, 0}};
}

cpu::PreparedMatmul& find_or_prepare(const Matmul& p, MatmulState& state) {
  const Key key = key_of(p);
  if (const auto found = state.by_key.find(key); found != state.by_key.end()) {
    state.prepared.splice(state.prepared.begin(), state.prepared, found->second);
    return state.prepared.front().second;
  }
  cpu::PreparedMatmul prepared(p, state.engine);
  if (state.prepared.size() == MatmulState::kMaxPrepared) {
    state.by_key.erase(state.prepared.back().first);
    state.prepared.pop_back();
  }
  state.prepared.emplace_front(key, std::move(prepared));
  state.by_key.emplace(key, state.prepared.begin());
  return state.prepared.front().second;
}

/// The product of no terms: C = bias or 0, or C += bias.
template <typename T>
void without_terms(const Matmul& p) {
  for (int64_t index = 0; index < p.batch; ++index) {
    for (int64_t row = 0; row < p.m; ++row) {
      T* c = static_cast<T*>(p.c) + index * p.c_batch_stride + row * p.c_row_stride;
      for (int64_t column = 0; column < p.n; ++column) {
        const float before = p.accumulate ? static_cast<float>(c[column]) : 0.0f;
        c[column] = static_cast<T>(before + (p.bias != nullptr ? p.bias[column] : 0.0f));
      }
    }
  }
}

}  // namespace

void matmul(const Matmul& product, Stream& stream) {
  const Matmul p = resolve(product);
  if (p.m == 0 || p.n == 0 || p.batch == 0) return;
  if (p.k == 0) {
    if (p.output_dtype == DType::kFloat32) {
      without_terms<float>(p);
    } else {
      without_terms<BFloat16>(p);
    }
    return;
  }
  const NumThreadsScope threads(stream.num_threads());
  MatmulState& state = stream.state<MatmulState>();
  try {
    find_or_prepare(p, state).run(p, state.stream, stream);
  } catch (const dnnl::error& error) {
    throw InternalError("matmul", fmt::format("oneDNN refused [{}, {}] x [{}, {}] of {} to {}: {}", p.m, p.k, p.k, p.n,
                                              dtype_name(p.input_dtype), dtype_name(p.output_dtype), error.what()));
  }
}

}  // namespace triptych
