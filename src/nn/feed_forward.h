#pragma once

#include <string>

#include "kernels/activation.h"
#include "nn/parameter_store.h"
#include "nn/pass.h"

namespace triptych::nn {

/// A feed-forward layer, W_2 f(W_1 x), f the activation: "<name>.in" and "<name>.out". Where f is gated, W_1 is
/// [2, F, H], the gate's half first. The output's bias is apart, to be added after the reduction.
class FeedForward {
 public:
  struct Config {
    int64_t width = 0, inner = 0;  ///< H, F
    Activation activation = Activation::kGelu;
    bool biases = true;  ///< of the products
  };
  /// `scale` of the initial output weights.
  FeedForward(ParameterStore& store, const std::string& name, const Config& config, float scale);

  /// x [B, S, H]; returns [B, S, H] in its place.
  Variable forward(const Variable& x, const Pass& pass, const Places& places = {}) const;
  /// Null where the products have none.
  Parameter* out_bias() const { return out_bias_; }

  /// Matrix-product FLOPs of one sample's forward pass.
  static double forward_flops(const Config& config, int64_t sequence);

 private:
  Config config_;
  Parameter *in_weight_, *in_bias_ = nullptr, *out_weight_, *out_bias_ = nullptr;
};

}  // namespace triptych::nn
