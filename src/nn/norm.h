#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "ops/layer_norm.h"
#include "ops/residual.h"

namespace triptych::nn {

enum class NormKind {
  kLayer,  ///< Ba et al. 2016: mean and variance, weight and bias
  kRms,    ///< Zhang and Sennrich 2019: the root mean square, and a weight alone
};
inline constexpr NormKind kNormKinds[] = {NormKind::kLayer, NormKind::kRms};
/// "layer", "rms".
std::string_view norm_name(NormKind kind);

struct NormConfig {
  NormKind kind = NormKind::kLayer;
  float epsilon = kLayerNormEpsilon;
};

/// A norm over the last dim with learned parameters [H].
struct NormParameters {
  NormParameters(ParameterStore& store, const std::string& name, int64_t width, const NormConfig& norm = {});

  Variable forward(const Variable& x, const Pass& pass) const;
  /// residual(x, z, branch_bias, dropout), and the norm of that sum.
  ResidualNorm after(const Variable& x, const Variable& z, const Variable& branch_bias, const Dropout& dropout,
                     const Pass& pass) const;

  NormConfig config;
  Parameter *weight, *bias;  ///< bias: null of an RMS norm
};

/// A norm that a model has or has not: before the first block, or after the last one.
class OptionalNorm {
 public:
  OptionalNorm(ParameterStore& store, const std::string& name, int64_t width, const std::optional<NormConfig>& norm) {
    if (norm) norm_.emplace(store, name, width, *norm);
  }
  /// The norm of x, or x.
  Variable forward(const Variable& x, const Pass& pass) const { return norm_ ? norm_->forward(x, pass) : x; }

 private:
  std::optional<NormParameters> norm_;
};

}  // namespace triptych::nn
