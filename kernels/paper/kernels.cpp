// The kernels of a device without memory: none does anything. A contract's new function is one line here.

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

void activation_forward(Stream&, const ActivationForwardArgs&) {}
void activation_backward(Stream&, const ActivationBackwardArgs&) {}
int64_t max_attention_head_dim() {
  return 256;
}
void attention_forward(Stream&, const AttentionForward&) {}
void attention_backward(Stream&, const AttentionBackward&) {}
void attention_merge(Stream&, const AttentionMerge&) {}
void box_loss(Stream&, const BoxLossArgs&) {}
void cross_entropy_rows(Stream&, const CrossEntropySlice&, const CrossEntropyRows&) {}
void cross_entropy_rescale(Stream&, const CrossEntropySlice&, const CrossEntropyRows&, const float*) {}
void cross_entropy_loss(Stream&, const int32_t*, const CrossEntropyRows&, int64_t, double, double*,
                        const LabelSmoothing&) {}
void cross_entropy_backward(Stream&, const CrossEntropySlice&, const CrossEntropyRows&, double, const double*, void*,
                            const LabelSmoothing&) {}
void cast(Stream&, const void*, DType, void*, DType, int64_t) {}
void fill(Stream&, void*, float, int64_t, DType) {}
void copy_rows(Stream&, const CopyRowsArgs&) {}
void add_into(Stream&, void*, const void*, int64_t, DType) {}
void scale(Stream&, const void*, void*, float, int64_t, DType) {}
void scale_by(Stream&, float*, const double*, int64_t) {}
void accumulate_doubles(Stream&, float*, const double*, const double*, int64_t) {}
void widen(Stream&, const float*, double*, int64_t) {}
void sum_rows(Stream&, const SumRowsArgs&) {}
void add_positions(Stream&, const AddPositionsArgs&) {}
void sum_positions(Stream&, const SumPositionsArgs&) {}
void embedding_forward(Stream&, const EmbeddingForwardArgs&) {}
void embedding_backward(Stream&, const EmbeddingBackwardArgs&) {}
void gather_tokens(Stream&, const GatherForwardArgs&) {}
void gather_tokens_backward(Stream&, const GatherBackwardArgs&) {}
std::vector<GemmRate> measure_gemm_table(Device&, DType) {
  return {};
}
std::optional<double> measure_gemm_peak(Device&, DType) {
  return {};
}
void layer_norm_forward(Stream&, const LayerNormForwardArgs&) {}
void layer_norm_backward(Stream&, const LayerNormBackwardArgs&) {}
std::vector<KernelLibrary> kernel_libraries() {
  return {};
}
void matching_targets(Stream&, const MatchedRows&, int32_t*) {}
void hard_negatives(Stream&, const HardNegativesArgs&) {}
void matmul(Stream&, const Matmul&) {}
void allow_tf32(Stream&, bool) {}
void l2_normalize_forward(Stream&, const L2NormalizeForwardArgs&) {}
void l2_normalize_backward(Stream&, const L2NormalizeBackwardArgs&) {}
void sum_of_squares(Stream&, std::span<const FloatSpan>, double*) {}
void decide_update(Stream&, const DecideUpdateArgs&) {}
void adamw(Stream&, const AdamWArgs&) {}
void patchify(Stream&, const PatchifyArgs&) {}
void mean_pool(Stream&, const PoolForwardArgs&) {}
void mean_pool_backward(Stream&, const PoolBackwardArgs&) {}
void both_present(Stream&, const uint8_t*, const uint8_t*, uint8_t*, int64_t) {}
void targets_of_present(Stream&, const int32_t*, const uint8_t*, int64_t, int64_t, int32_t*) {}
void sources_of_present(Stream&, const uint8_t*, int64_t, int64_t, int32_t*) {}
void lengthen(Stream&, const int32_t*, int32_t, int64_t, int32_t*) {}
void fill_normal(Stream&, const FillNormalArgs&) {}
void residual_forward(Stream&, const ResidualForwardArgs&) {}
void residual_backward(Stream&, const ResidualBackwardArgs&) {}
void residual_norm_forward(Stream&, const ResidualForwardArgs&, const LayerNormForwardArgs&) {}
void residual_norm_backward(Stream&, const LayerNormBackwardArgs&, const ResidualBackwardArgs&) {}
void rotary(Stream&, const RotaryArgs&) {}
void count_present(Stream&, const void*, DType, int64_t, double*) {}
void add_doubles(Stream&, double*, const double*, int64_t) {}
void divide_doubles(Stream&, double*, const double*, double, const double*, int64_t) {}
void softmax_forward(Stream&, const SoftmaxForwardArgs&) {}
void softmax_backward(Stream&, const SoftmaxBackwardArgs&) {}
void log_softmax_forward(Stream&, const SoftmaxForwardArgs&) {}
void log_softmax_backward(Stream&, const SoftmaxBackwardArgs&) {}
void copy_strided(Stream&, const CopyStridedArgs&) {}
void add_strided(Stream&, const BinaryStridedArgs&) {}
void multiply_strided(Stream&, const BinaryStridedArgs&) {}
void sum_strided(Stream&, const SumStridedArgs&) {}
void tanh_forward(Stream&, const void*, void*, int64_t, DType) {}
void tanh_backward(Stream&, const TanhBackwardArgs&) {}
void update_averages(Stream&, const WeightAverageArgs&) {}

}  // namespace triptych::kernels
