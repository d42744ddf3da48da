#pragma once

#include <string>
#include <string_view>

#include "autograd/parameter.h"
#include "autograd/sharded_weights.h"
#include "autograd/variable.h"
#include "base/philox.h"
#include "nn/plan.h"
#include "ops/border_linear.h"
#include "ops/redistribute.h"
#include "ops/residual.h"

namespace triptych::nn {

class AttentionSink;
class DecodingCache;

/// What is run again in backward rather than kept of the forward pass: memory for time. The bits are the same.
enum class Recompute {
  kNone,
  /// What is cheap for the memory that it takes: what norms give, where it is made whole by a gather over tp the
  /// gathered too, and the core of attention. What GELU gives, masks of dropout, scores and probabilities are never
  /// kept.
  kSelective,
  kFull,  ///< all of a Transformer block but its inputs
};
inline constexpr Recompute kRecomputes[] = {Recompute::kNone, Recompute::kSelective, Recompute::kFull};
/// "none", "selective", "full".
std::string_view recompute_name(Recompute recompute);

/// How the plan calls what a part of a model, whose weights are over tp, reads and what it gives.
struct Places {
  std::string_view inside = "tokens", outside = "stream";
};

/// What one forward pass over one microbatch needs beside its data. Passed down; nothing of it is global.
struct Pass {
  Device& device;
  Mesh& mesh;
  const Plan& plan;
  DType dtype = DType::kFloat32;  ///< of activations
  bool record = true;             ///< build a graph
  bool training = true;           ///< drop out
  bool measures_loss = false;     ///< not training, but for a loss: samples meet as they do in training
  Recompute recompute = Recompute::kNone;
  int64_t tp_pieces = 1;  ///< of a batch, in which what tp gathers and sums goes beside the products around it
  uint64_t seed = 0;
  int64_t step = 0;
  int64_t first_sample = 0;  ///< of the microbatch, in the global batch
  /// Decoding: sequences are one token long, the one at its position, and attend to those before.
  DecodingCache* cache = nullptr;
  ShardedWeights* weights = nullptr;    ///< learns of every block that has run; null where every rank has all
  Trace* trace = nullptr;               ///< sees every block
  AttentionSink* attentions = nullptr;  ///< sees every attention of this rank, of passes that are to be explained

  /// Whether what is made cheaply shall be made again in backward rather than kept.
  bool selects() const { return record && recompute == Recompute::kSelective; }

  Variable use(Parameter& parameter) const { return Variable::of(parameter, record); }
  /// Of a parameter that a layer has or has not: undefined if it is null.
  Variable use(Parameter* parameter) const { return parameter != nullptr ? use(*parameter) : Variable(); }

  /// Where the plan puts a tensor.
  Layout layout(std::string_view name) const { return on_mesh(plan(name), mesh); }
  /// `x` laid out as the plan says of `name`.
  Variable laid_out(const Variable& x, std::string_view name) const { return redistribute(x, layout(name), mesh); }
  /// The border behind which tensors are laid out as the plan says of `name`.
  Border border(std::string_view name) const { return {layout(name), tp_pieces, mesh}; }
  /// The first product of a part, of an x that is laid out as `inside` there.
  Entered enter(const Variable& x, Parameter& weight, Parameter* bias, std::string_view inside) const {
    return entering_linear(x, use(weight), use(bias), dtype, border(inside));
  }
  /// Rows of a field or of something computed from it, which no gradient reaches: a rank's samples, whole.
  Variable rows(const Tensor& local) const {
    return Variable::constant(local, local.shape().with(0, local.size(0) * mesh.size(Axis::kDp)), layout("batch"));
  }
  /// The same of a field that has something for each token of a sequence, [B, S, ...]: of this rank's tokens.
  Variable tokens(const Tensor& local) const { return laid_out(rows(local), "tokens"); }
  /// The same of a field with the dims that `x` begins with, laid out as these.
  Variable rows_of(const Variable& x, const Tensor& local) const {
    Layout layout;
    for (const Axis axis : kAxes) {
      const Placement& placement = x.layout()[axis];
      if (placement.is_shard() && placement.dim < local.shape().rank()) layout = layout.with(axis, placement);
    }
    return redistribute(rows(local), layout, mesh);
  }

  /// The dropout of one place in the model, the residual branch that `part` ends: "<part>.dropout" of elements,
  /// "<part>.drop_path" of samples (stochastic depth).
  Dropout dropout(const std::string& part, float probability, float path_probability) const {
    const auto counter = static_cast<uint64_t>(step);
    return {.probability = training ? probability : 0.0f,
            .key = random_key(seed, part + ".dropout", counter),
            .first_sample = first_sample,
            .path_probability = training ? path_probability : 0.0f,
            .path_key = random_key(seed, part + ".drop_path", counter)};
  }
};

}  // namespace triptych::nn
