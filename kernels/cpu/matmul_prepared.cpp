#include "kernels/cpu/matmul_prepared.h"

#include <algorithm>

#include "base/checked.h"
#include "base/error.h"
#include "kernels/cpu/dnnl_versions.h"

namespace triptych::kernels::cpu {
namespace {

using Memory = dnnl::memory;

/// From so many rows on, reordering B costs less than it gains.
constexpr int64_t kMinRowsToPackB = 1024;
/// From so many terms and weights on, the route for weight gradients is the faster one.
constexpr int64_t kMinTermsOfWeightGradient = 256;
constexpr int64_t kMinWeightsOfWeightGradient = 128 * 128;

Memory::data_type to_dnnl(DType dtype) {
  return dtype == DType::kBFloat16 ? Memory::data_type::bf16 : Memory::data_type::f32;
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

void set_address(Memory& memory, const void* address) {
  if (memory) dnnl::error::wrap_c_api(dnnl_memory_set_data_handle(memory.get(), const_cast<void*>(address)), "address");
}

dnnl::primitive_attr attributes(bool accumulate) {
  dnnl::primitive_attr attr;
  attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  if (accumulate) {
    dnnl::post_ops post_ops;
    post_ops.append_sum(1.0f);
    attr.set_post_ops(post_ops);
  }
  return attr;
}

}  // namespace

PreparedMatmul::Route PreparedMatmul::route_of(const Matmul& p) {
  if (p.batch > 1) return Route::kDirect;
  const bool packed_rows = p.a_row_stride == p.m && p.b_row_stride == p.n;
  if (p.transpose_a && !p.transpose_b && packed_rows && p.bias == nullptr && p.output_dtype == DType::kFloat32 &&
      p.k >= kMinTermsOfWeightGradient && p.m * p.n >= kMinWeightsOfWeightGradient) {
    const auto collides = [&p](int64_t columns) {
      return columns * static_cast<int64_t>(dtype_bytes(p.input_dtype)) % 4096 == 0;
    };
    return collides(p.m) && !collides(p.n) ? Route::kTransposedWeightGradient : Route::kWeightGradient;
  }
  return p.m >= kMinRowsToPackB && !p.transpose_a ? Route::kPackedB : Route::kDirect;
}

PreparedMatmul::PreparedMatmul(const Matmul& product, const dnnl::engine& engine) : route_(route_of(product)) {
  if (route_ == Route::kDirect || route_ == Route::kPackedB) {
    prepare_matmul(product, engine);
  } else {
    prepare_weight_gradient(product, engine);
  }
}

void PreparedMatmul::add_argument(Step& step, int which, const Memory::desc& desc, Memory& memory,
                                  const dnnl::engine& engine) {
  if (!memory) memory = Memory(desc, engine, nullptr);
  step.args.at(static_cast<std::size_t>(step.num_args++)) = {which, memory.get()};
}

void PreparedMatmul::prepare_matmul(const Matmul& p, const dnnl::engine& engine) {
  const Memory::desc a = matrix(p, p.m, p.k, p.input_dtype, p.a_row_stride, p.transpose_a, p.a_batch_stride);
  const Memory::desc b = matrix(p, p.k, p.n, p.input_dtype, p.b_row_stride, p.transpose_b, p.b_batch_stride);
  const Memory::desc c = matrix(p, p.m, p.n, p.output_dtype, p.c_row_stride, false, p.c_batch_stride);
  const Memory::desc any_b({p.k, p.n}, to_dnnl(p.input_dtype), Memory::format_tag::any);
  const Memory::desc& wanted_b = route_ == Route::kPackedB ? any_b : b;
  Memory::desc bias;
  if (p.bias != nullptr) {
    Memory::dims dims(p.batch > 1 ? 3 : 2, 1);
    dims.back() = p.n;
    bias = {dims, Memory::data_type::f32, dims.size() == 2 ? Memory::format_tag::ab : Memory::format_tag::abc};
  }
  const dnnl::matmul::primitive_desc primitive_desc =
      describe_matmul(engine, a, wanted_b, p.bias != nullptr ? &bias : nullptr, c, attributes(p.accumulate));
  const Memory::desc packed_b = primitive_desc.weights_desc();
  const bool packs = packed_b != b;
  if (packs) {
    const dnnl::reorder::primitive_desc reorder(engine, b, engine, packed_b, attributes(false));
    TRIPTYCH_CHECK(reorder.scratchpad_desc().get_size() == 0, "a reorder on one engine that needs scratch memory");
    Step& step = steps_[num_steps_++];
    step.primitive = dnnl::reorder(reorder);
    add_argument(step, DNNL_ARG_FROM, b, b_, engine);
    add_argument(step, DNNL_ARG_TO, packed_b, staged_, engine);
    staged_bytes_ = packed_b.get_size();
  }
  Step& step = steps_[num_steps_++];
  step.primitive = dnnl::matmul(primitive_desc);
  add_argument(step, DNNL_ARG_SRC, a, a_, engine);
  add_argument(step, DNNL_ARG_WEIGHTS, packed_b, packs ? staged_ : b_, engine);
  add_argument(step, DNNL_ARG_DST, c, c_, engine);
  if (p.bias != nullptr) add_argument(step, DNNL_ARG_BIAS, bias, bias_, engine);
  scratchpad_bytes_ = primitive_desc.scratchpad_desc().get_size();
  if (scratchpad_bytes_ > 0) {
    add_argument(step, DNNL_ARG_SCRATCHPAD, primitive_desc.scratchpad_desc(), scratchpad_, engine);
  }
}

void PreparedMatmul::prepare_weight_gradient(const Matmul& p, const dnnl::engine& engine) {
  // In oneDNN's terms: source [k, in], gradient of the destination [k, out], gradient of the weights [out, in].
  const bool transposed = route_ == Route::kTransposedWeightGradient;
  const int64_t out = transposed ? p.n : p.m, in = transposed ? p.m : p.n;
  const auto packed = [](int64_t rows, int64_t columns, Memory::data_type type) {
    return Memory::desc({rows, columns}, type, Memory::format_tag::ab);
  };
  const Memory::data_type type = to_dnnl(p.input_dtype);
  const Memory::desc source = packed(p.k, in, type), d_destination = packed(p.k, out, type);
  const Memory::desc d_weights = packed(out, in, Memory::data_type::f32);
  const dnnl::inner_product_backward_weights::primitive_desc primitive_desc =
      describe_weight_gradient(engine, source, packed(out, in, type), d_weights, d_destination, attributes(false));
  const bool stages = transposed || p.accumulate || p.c_row_stride != p.n;
  if (stages) staged_bytes_ = d_weights.get_size();
  Step& step = steps_[num_steps_++];
  step.primitive = dnnl::inner_product_backward_weights(primitive_desc);
  add_argument(step, DNNL_ARG_SRC, source, transposed ? a_ : b_, engine);
  add_argument(step, DNNL_ARG_DIFF_DST, d_destination, transposed ? b_ : a_, engine);
  add_argument(step, DNNL_ARG_DIFF_WEIGHTS, d_weights, stages ? staged_ : c_, engine);
  scratchpad_bytes_ = primitive_desc.scratchpad_desc().get_size();
  if (scratchpad_bytes_ > 0) {
    add_argument(step, DNNL_ARG_SCRATCHPAD, primitive_desc.scratchpad_desc(), scratchpad_, engine);
  }
}

void PreparedMatmul::run(const Matmul& p, const dnnl::stream& dnnl_stream, Stream& stream) {
  const std::size_t staged_bytes = static_cast<std::size_t>(round_up(static_cast<int64_t>(staged_bytes_), 4096));
  std::byte* scratch = nullptr;
  if (staged_bytes + scratchpad_bytes_ > 0) scratch = stream.scratch(staged_bytes + scratchpad_bytes_);
  set_address(a_, p.a);
  set_address(b_, p.b);
  set_address(c_, p.c);
  set_address(bias_, p.bias);
  set_address(staged_, scratch);
  set_address(scratchpad_, scratch + staged_bytes);
  for (std::size_t i = 0; i < num_steps_; ++i) {
    // The C call, since the C++ one builds a map and a vector of the arguments at every call.
    const Step& step = steps_[i];
    dnnl::error::wrap_c_api(
        dnnl_primitive_execute(step.primitive.get(), dnnl_stream.get(), step.num_args, step.args.data()), "execution");
  }
  if (route_ != Route::kPackedB && staged_bytes_ > 0) finish_weight_gradient(p, reinterpret_cast<float*>(scratch));
}

void PreparedMatmul::finish_weight_gradient(const Matmul& p, const float* result) const {
  const bool transposed = route_ == Route::kTransposedWeightGradient;
  // Blocks of cache lines: without them a transposition reads a line for every element.
  constexpr int64_t kBlock = 16;
  float* const c = static_cast<float*>(p.c);
  for (int64_t row = 0; row < p.m; row += kBlock) {
    const int64_t end_row = std::min(p.m, row + kBlock);
    for (int64_t column = 0; column < p.n; column += kBlock) {
      const int64_t end_column = std::min(p.n, column + kBlock);
      for (int64_t i = row; i < end_row; ++i) {
        float* const to = c + i * p.c_row_stride;
        const float* const from = transposed ? result + i : result + i * p.n;
        const int64_t step = transposed ? p.m : 1;
        for (int64_t j = column; j < end_column; ++j) to[j] = (p.accumulate ? to[j] : 0.0f) + from[j * step];
      }
    }
  }
}

}  // namespace triptych::kernels::cpu
