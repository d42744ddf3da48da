// The kernels of a device without memory: none does anything but say what it would do. A contract's new function is one
// line here.

#include "device/work_log.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/box_loss.h"
#include "kernels/cross_entropy.h"
#include "kernels/elementwise.h"
#include "kernels/embedding.h"
#include "kernels/gather.h"
#include "kernels/gemm_peak.h"
#include "kernels/layer_norm.h"
#include "kernels/libraries.h"
#include "kernels/matching.h"
#include "kernels/matmul.h"
#include "kernels/normalize.h"
#include "kernels/optimizer.h"
#include "kernels/patchify.h"
#include "kernels/pooling.h"
#include "kernels/presence.h"
#include "kernels/random.h"
#include "kernels/residual.h"
#include "kernels/residual_norm.h"
#include "kernels/rotary.h"
#include "kernels/scalars.h"
#include "kernels/softmax.h"
#include "kernels/strided.h"
#include "kernels/tanh.h"
#include "kernels/weight_average.h"

namespace triptych::kernels {
namespace {

void add(Stream& stream, const Work& work) {
  static_cast<WorkLog*>(stream.native())->add(work);
}

// `elements` of a type, read or written `times` times.
void moves(Stream& stream, int64_t elements, DType dtype, double times) {
  add(stream,
      {.bytes = static_cast<double>(elements) * static_cast<double>(dtype_bytes(dtype)) * times, .num_kernels = 1});
}
void moves_floats(Stream& stream, int64_t elements, double times) {
  moves(stream, elements, DType::kFloat32, times);
}

int64_t volume(std::span<const int64_t> dims) {
  int64_t result = 1;
  for (const int64_t dim : dims) result *= dim;
  return result;
}

// Of `products` of queries and keys.
void attends(Stream& stream, const AttentionShape& s, double products) {
  const double flops = 2 * products * static_cast<double>(s.batch * s.num_heads) *
                       static_cast<double>(s.num_queries * s.num_keys) * static_cast<double>(s.head_dim) *
                       (s.causal ? 0.5 : 1);
  const bool is_half = s.dtype != DType::kFloat32;
  add(stream, {.attention_flops = is_half ? 0 : flops, .half_attention_flops = is_half ? flops : 0, .num_kernels = 1});
}

}  // namespace

void activation_forward(Stream& s, const ActivationForwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 2);
}
void activation_backward(Stream& s, const ActivationBackwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, a.a != nullptr ? 4 : 3);
}
int64_t max_attention_head_dim() {
  return 256;
}
void attention_forward(Stream& s, const AttentionForward& a) {
  attends(s, a.shape, 2);
}
void attention_backward(Stream& s, const AttentionBackward& a) {
  attends(s, a.shape, 5);
}
void attention_merge(Stream& s, const AttentionMerge&) {
  add(s, {.num_kernels = 1});
}
void box_loss(Stream& s, const BoxLossArgs&) {
  add(s, {.num_kernels = 1});
}
void cross_entropy_rows(Stream& s, const CrossEntropySlice& a, const CrossEntropyRows&) {
  moves(s, a.rows * a.cols, a.dtype, 1);
}
void cross_entropy_rescale(Stream& s, const CrossEntropySlice&, const CrossEntropyRows&, const float*) {
  add(s, {.num_kernels = 1});
}
void cross_entropy_loss(Stream& s, const int32_t*, const CrossEntropyRows&, int64_t, double, double*,
                        const LabelSmoothing&) {
  add(s, {.num_kernels = 1});
}
void cross_entropy_backward(Stream& s, const CrossEntropySlice& a, const CrossEntropyRows&, double, const double*,
                            void*, const LabelSmoothing&) {
  moves(s, a.rows * a.cols, a.dtype, 2);
}
void cast(Stream& s, const void*, DType from, void*, DType to, int64_t n) {
  moves(s, n, DType::kUInt8, static_cast<double>(dtype_bytes(from) + dtype_bytes(to)));
}
void fill(Stream& s, void*, float, int64_t n, DType dtype) {
  moves(s, n, dtype, 1);
}
void copy_rows(Stream& s, const CopyRowsArgs& a) {
  moves(s, a.rows * a.row_bytes, DType::kUInt8, 2);
}
void add_into(Stream& s, void*, const void*, int64_t n, DType dtype) {
  moves(s, n, dtype, 3);
}
void scale(Stream& s, const void*, void*, float, int64_t n, DType dtype) {
  moves(s, n, dtype, 2);
}
void scale_by(Stream& s, float*, const double*, int64_t n) {
  moves_floats(s, n, 2);
}
void accumulate_doubles(Stream& s, float*, const double*, const double*, int64_t) {
  add(s, {.num_kernels = 1});
}
void widen(Stream& s, const float*, double*, int64_t) {
  add(s, {.num_kernels = 1});
}
void sum_rows(Stream& s, const SumRowsArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 1);
}
void add_positions(Stream& s, const AddPositionsArgs& a) {
  moves(s, a.batch * a.seq * a.cols, a.dtype, 2);
}
void sum_positions(Stream& s, const SumPositionsArgs& a) {
  moves(s, a.batch * a.seq * a.cols, a.dtype, 1);
}
void embedding_forward(Stream& s, const EmbeddingForwardArgs& a) {
  moves(s, a.n * a.cols, a.dtype, 2);
}
void embedding_backward(Stream& s, const EmbeddingBackwardArgs& a) {
  moves_floats(s, a.n * a.cols, 3);
}
void gather_tokens(Stream& s, const GatherForwardArgs& a) {
  moves(s, a.tokens.batch * a.tokens.count * a.tokens.cols, a.dtype, 2);
}
void gather_tokens_backward(Stream& s, const GatherBackwardArgs& a) {
  moves(s, a.tokens.batch * a.tokens.seq * a.tokens.cols, a.dtype, 1);
}
std::vector<GemmRate> measure_gemm_table(Device&, DType) {
  return {};
}
std::optional<double> measure_gemm_peak(Device&, DType) {
  return {};
}
void layer_norm_forward(Stream& s, const LayerNormForwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 2);
}
void layer_norm_backward(Stream& s, const LayerNormBackwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, a.add != nullptr ? 4 : 3);
}
std::vector<KernelLibrary> kernel_libraries() {
  return {};
}
void matching_targets(Stream& s, const MatchedRows&, int32_t*) {
  add(s, {.num_kernels = 1});
}
void hard_negatives(Stream& s, const HardNegativesArgs&) {
  add(s, {.num_kernels = 1});
}
void matmul(Stream& s, const Matmul& p) {
  const double flops = 2 * static_cast<double>(p.m * p.n) * static_cast<double>(p.k * p.batch);
  const bool is_half = p.input_dtype != DType::kFloat32;
  add(s, {.product_flops = is_half ? 0 : flops, .half_product_flops = is_half ? flops : 0, .num_kernels = 1});
}
void allow_tf32(Stream&, bool) {}
void l2_normalize_forward(Stream& s, const L2NormalizeForwardArgs& a) {
  moves_floats(s, a.rows * a.cols, 2);
}
void l2_normalize_backward(Stream& s, const L2NormalizeBackwardArgs& a) {
  moves_floats(s, a.rows * a.cols, 3);
}
void sum_of_squares(Stream& s, std::span<const FloatSpan> spans, double*) {
  int64_t n = 0;
  for (const FloatSpan& span : spans) n += span.n;
  moves_floats(s, n, 1);
}
void decide_update(Stream& s, const DecideUpdateArgs&) {
  add(s, {.num_kernels = 1});
}
void adamw(Stream& s, const AdamWArgs& a) {
  int64_t n = 0, copied = 0;
  for (const AdamWTensor& one : a.tensors) {
    n += one.n;
    if (one.copy != nullptr) copied += one.n;
  }
  moves_floats(s, n, 7);  // reads four, writes three
  moves(s, copied, DType::kBFloat16, 1);
}
void patchify(Stream& s, const PatchifyArgs& a) {
  moves(s, 3 * a.batch * a.image_size * a.image_size, a.dtype, 1.25);
}
void mean_pool(Stream& s, const PoolForwardArgs& a) {
  moves(s, a.batch * a.seq * a.cols, a.dtype, 1);
}
void mean_pool_backward(Stream& s, const PoolBackwardArgs& a) {
  moves(s, a.batch * a.seq * a.cols, a.dtype, 1);
}
void both_present(Stream& s, const uint8_t*, const uint8_t*, uint8_t*, int64_t) {
  add(s, {.num_kernels = 1});
}
void targets_of_present(Stream& s, const int32_t*, const uint8_t*, int64_t, int64_t, int32_t*) {
  add(s, {.num_kernels = 1});
}
void sources_of_present(Stream& s, const uint8_t*, int64_t, int64_t, int32_t*) {
  add(s, {.num_kernels = 1});
}
void lengthen(Stream& s, const int32_t*, int32_t, int64_t, int32_t*) {
  add(s, {.num_kernels = 1});
}
void fill_normal(Stream& s, const FillNormalArgs&) {
  add(s, {.num_kernels = 1});
}
void residual_forward(Stream& s, const ResidualForwardArgs& a) {
  moves(s, a.dropout.batch * a.dropout.seq * a.dropout.cols, a.dtype, 3);
}
void residual_backward(Stream& s, const ResidualBackwardArgs& a) {
  moves(s, a.dropout.batch * a.dropout.seq * a.dropout.cols, a.dtype, a.dz != nullptr ? 2 : 1);
}
void residual_norm_forward(Stream& s, const ResidualForwardArgs&, const LayerNormForwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 4);
}
void residual_norm_backward(Stream& s, const LayerNormBackwardArgs& a, const ResidualBackwardArgs&) {
  moves(s, a.rows * a.cols, a.dtype, a.add != nullptr ? 5 : 4);
}
void rotary(Stream& s, const RotaryArgs& a) {
  moves(s, a.batch * a.seq * a.parts * a.cols, a.dtype, 2);
}
void count_present(Stream& s, const void*, DType, int64_t, double*) {
  add(s, {.num_kernels = 1});
}
void add_doubles(Stream& s, double*, const double*, int64_t) {
  add(s, {.num_kernels = 1});
}
void divide_doubles(Stream& s, double*, const double*, double, const double*, int64_t) {
  add(s, {.num_kernels = 1});
}
void softmax_forward(Stream& s, const SoftmaxForwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 2);
}
void softmax_backward(Stream& s, const SoftmaxBackwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 3);
}
void log_softmax_forward(Stream& s, const SoftmaxForwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 2);
}
void log_softmax_backward(Stream& s, const SoftmaxBackwardArgs& a) {
  moves(s, a.rows * a.cols, a.dtype, 3);
}
void copy_strided(Stream& s, const CopyStridedArgs& a) {
  moves(s, volume(a.dims) * a.element_bytes, DType::kUInt8, 2);
}
void add_strided(Stream& s, const BinaryStridedArgs& a) {
  moves(s, volume(a.dims), a.dtype, 3);
}
void multiply_strided(Stream& s, const BinaryStridedArgs& a) {
  moves(s, volume(a.dims), a.dtype, 3);
}
void sum_strided(Stream& s, const SumStridedArgs& a) {
  moves(s, volume(a.dims), a.dtype, 1);
}
void tanh_forward(Stream& s, const void*, void*, int64_t n, DType dtype) {
  moves(s, n, dtype, 2);
}
void tanh_backward(Stream& s, const TanhBackwardArgs& a) {
  moves(s, a.n, a.dtype, 3);
}
void update_averages(Stream& s, const WeightAverageArgs& a) {
  int64_t n = 0;
  for (const AverageTensor& one : a.tensors) n += one.n;
  moves_floats(s, n, 3);
}

}  // namespace triptych::kernels
