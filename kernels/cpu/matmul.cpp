#include "kernels/matmul.h"

#include <algorithm>
#include <array>
#include <bit>
#include <list>
#include <unordered_map>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "base/error.h"

namespace triptych {
namespace {

using Memory = dnnl::memory;

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

struct Prepared {
  Key key;
  dnnl::matmul primitive;
  Memory a, b, c, bias, scratch;
  std::size_t scratch_bytes = 0;
  std::array<dnnl_exec_arg_t, 5> args;
  int num_args = 0;
};

/// The engine, and the prepared primitives from the most to the least recently used.
struct MatmulState {
  static constexpr std::size_t kMaxPrepared = 512;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  std::list<Prepared> prepared;
  std::unordered_map<Key, std::list<Prepared>::iterator, KeyHash> by_key;
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

Memory::data_type to_dnnl(DType dtype) {
  return dtype == DType::kBFloat16 ? Memory::data_type::bf16 : Memory::data_type::f32;
}

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

Memory::desc matrix(const Matmul& p, int64_t rows, int64_t columns, DType dtype, int64_t row_stride, bool transpose,
                    int64_t batch_stride) {
  Memory::dims dims{rows, columns};
  Memory::dims strides = transpose ? Memory::dims{1, row_stride} : Memory::dims{row_stride, 1};
  if (p.batch > 1) {
    dims.insert(dims.begin(), batch_stride == 0 ? 1 : p.batch);
    strides.insert(strides.begin(), batch_stride == 0 ? rows * columns : batch_stride);
  }
  return {dims, to_dnnl(dtype), strides};
}

void prepare(const Matmul& p, MatmulState& state, Prepared& prepared) {
  const Memory::desc a = matrix(p, p.m, p.k, p.input_dtype, p.a_row_stride, p.transpose_a, p.a_batch_stride);
  const Memory::desc b = matrix(p, p.k, p.n, p.input_dtype, p.b_row_stride, p.transpose_b, p.b_batch_stride);
  const Memory::desc c = matrix(p, p.m, p.n, p.output_dtype, p.c_row_stride, false, p.c_batch_stride);
  Memory::desc bias;
  if (p.bias != nullptr) {
    Memory::dims dims(c.dims().size(), 1);
    dims.back() = p.n;
    bias = {dims, Memory::data_type::f32, Memory::dims(dims.size(), p.n)};
  }
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (p.accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0f);
    attr.set_post_ops(post_ops);
  }
  const dnnl::matmul::desc desc = p.bias != nullptr ? dnnl::matmul::desc(a, b, bias, c) : dnnl::matmul::desc(a, b, c);
  const dnnl::matmul::primitive_desc primitive_desc(desc, attr, state.engine);

  prepared.primitive = dnnl::matmul(primitive_desc);
  prepared.scratch_bytes = primitive_desc.scratchpad_desc().get_size();
  const auto add = [&](int which, const Memory::desc& memory_desc, Memory& memory) {
    memory = Memory(memory_desc, state.engine, nullptr);
    prepared.args[static_cast<std::size_t>(prepared.num_args++)] = {which, memory.get()};
  };
  add(DNNL_ARG_SRC, a, prepared.a);
  add(DNNL_ARG_WEIGHTS, b, prepared.b);
  add(DNNL_ARG_DST, c, prepared.c);
  if (p.bias != nullptr) add(DNNL_ARG_BIAS, bias, prepared.bias);
  if (prepared.scratch_bytes > 0) add(DNNL_ARG_SCRATCHPAD, primitive_desc.scratchpad_desc(), prepared.scratch);
}

Prepared& find_or_prepare(const Matmul& p, MatmulState& state) {
  const Key key = key_of(p);
  if (const auto found = state.by_key.find(key); found != state.by_key.end()) {
    state.prepared.splice(state.prepared.begin(), state.prepared, found->second);
    return state.prepared.front();
  }
  Prepared prepared{.key = key};
  prepare(p, state, prepared);
  if (state.prepared.size() == MatmulState::kMaxPrepared) {
    state.by_key.erase(state.prepared.back().key);
    state.prepared.pop_back();
  }
  state.prepared.push_front(std::move(prepared));
  state.by_key.emplace(key, state.prepared.begin());
  return state.prepared.front();
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

void run(Prepared& prepared, const Matmul& p, MatmulState& state, Stream& stream) {
  const auto set = [](Memory& memory, const void* address) {
    dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(memory.get(), const_cast<void*>(address)), "[matmul] oneDNN");
  };
  set(prepared.a, p.a);
  set(prepared.b, p.b);
  set(prepared.c, p.c);
  if (p.bias != nullptr) set(prepared.bias, p.bias);
  if (prepared.scratch_bytes > 0) set(prepared.scratch, stream.scratch(prepared.scratch_bytes));
  // The C call, since the C++ one builds a map and a vector of the arguments at every call.
  dnnl::error::wrap_c_api(
      dnnl_primitive_execute(prepared.primitive.get(), state.stream.get(), prepared.num_args, prepared.args.data()),
      "[matmul] oneDNN could not run a product");
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
    run(find_or_prepare(p, state), p, state, stream);
  } catch (const dnnl::error& error) {
    throw InternalError("matmul", fmt::format("oneDNN refused [{}, {}] x [{}, {}] of {} to {}: {}", p.m, p.k, p.k, p.n,
                                              dtype_name(p.input_dtype), dtype_name(p.output_dtype), error.what()));
  }
}

}  // namespace triptych
