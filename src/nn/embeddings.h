#pragma once

#include <array>
#include <string>

#include "nn/parameter_store.h"
#include "nn/pass.h"

namespace triptych::nn {

/// The parallel plan of the embeddings and of what is tied to them.
inline constexpr PlanRow kEmbeddingsPlan[] = {
    {"tokens.weight", on_tp(0)},   // [V, H] by rows: the vocabulary
    {"patch.weight", kWhole},      // [H, 3 P P]
    {"patch.bias", kWhole},        // [H]
    {"class_token", kWhole},       // [H]
    {"positions", kWhole},         // [S, H]
    {"logits", on_tp(2, kBatch)},  // [B, S, V]
};
inline constexpr PlanRow kEmbeddingsSequencePlan[] = {
    {"positions", on_tp(0)},  // as the stream that they are added to
};

/// Learned positions [S, H], small random values at first, added to a sequence.
class LearnedPositions {
 public:
  LearnedPositions(ParameterStore& store, const std::string& name, int64_t sequence, int64_t width);
  /// x [B, S, H] in any layout; returns the stream.
  Variable add_to(const Variable& x, const Pass& pass) const;

 private:
  Parameter* positions_;
};

/// Images as sequences (Dosovitskiy et al. 2021): each patch of pixels times a matrix, an optional class token in
/// front, learned positions.
class PatchEmbedding {
 public:
  struct Config {
    int64_t size = 0, patch = 0, width = 0;  ///< pixels a side of the image and of a patch; H
    bool class_token = false;

    int64_t num_patches() const { return (size / patch) * (size / patch); }
    int64_t sequence() const { return num_patches() + (class_token ? 1 : 0); }
    /// Of one sample's forward pass; backward has as many, since pixels have no gradient.
    double forward_flops() const { return 2.0 * 3 * static_cast<double>(patch * patch * width * num_patches()); }
  };
  PatchEmbedding(ParameterStore& store, const std::string& name, const Config& config);
  /// pixels uint8 [B, size, size, 3], normalised as CLIP's; returns the stream [B, S, H].
  Variable forward(const Tensor& pixels, const Pass& pass) const;

 private:
  Config config_;
  Parameter *weight_, *bias_;
  Parameter* class_token_ = nullptr;
  LearnedPositions positions_;
};

/// A vocabulary's rows, over `tp` by rows, and what turns states back into scores of its tokens: the same matrix.
class TokenTable {
 public:
  /// `is_tied`: several blocks make it, with one name, and share it.
  TokenTable(ParameterStore& store, const std::string& name, int64_t vocabulary, int64_t width, bool is_tied);

  /// ids int32 [B, S]; returns [B, S, H], Partial on `tp`: redistribute it.
  Variable embed(const Tensor& ids, const Pass& pass) const;
  /// x [B, S, H] whole; returns logits [B, S, V] in the pass's dtype, by vocabulary over `tp`.
  Variable logits(const Variable& x, const Pass& pass) const;

 private:
  Parameter* table_;
};

}  // namespace triptych::nn
