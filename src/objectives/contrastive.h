#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "tensor/tensor.h"

namespace triptych {

struct ContrastiveConfig {
  enum class Kind { kInfoNce, kSigmoid };
  Kind kind = Kind::kInfoNce;
  float initial_scale = 1 / 0.07f;  ///< what similarities are multiplied by: the inverse temperature
  float maximum_scale = 100;
  float initial_bias = -10;  ///< sigmoid only
};

/// The contrastive losses over the global batch, with the learned scale (and bias) as parameters of the last stage.
///
///   InfoNCE   Radford et al. 2021: the mean of the cross-entropies image -> text and text -> image
///   sigmoid   Zhai et al. 2023: -1/B sum over all pairs of log sigmoid(y (scale * z_i . z_t + bias))
class ContrastiveObjective {
 public:
  ContrastiveObjective(ParameterStore& store, const ContrastiveConfig& config);

  /// image, text   float32 [B, E], rows of unit length, Shard(0) on `dp`: row i of both is a pair
  /// returns       float64 [1] on the device, Partial on `dp`
  ///
  /// Embeddings of the other modality are gathered over `dp` by `redistribute`; the loss is evaluated in blocks of
  /// rows, B_local x B_global similarities never exist at once, and its gradient is kept from the forward pass. Cost: 3
  /// times (InfoNCE: 6) 2*B_local*B*E FLOPs, forward and backward together.
  Variable loss(const Variable& image, const Variable& text, const Pass& pass);

  /// The learned logarithm of what similarities are multiplied by: float32 [1].
  const Tensor& log_scale() const { return log_scale_->value; }
  /// Of the last loss, on this rank: for a scalar parameter's gradient the sum of its terms' magnitudes. The terms
  /// cancel, so this, not the sum, is what rounding errors are to be compared with. Partial on `dp`. Waits for the
  /// device.
  std::map<std::string, double> gradient_magnitudes() const;

 private:
  ContrastiveConfig config_;
  Parameter* log_scale_;
  Parameter* bias_ = nullptr;
  Tensor sums_;  // of the last loss: ContrastiveSums
};

}  // namespace triptych
