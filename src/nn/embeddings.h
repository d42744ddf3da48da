#pragma once

#include <array>
#include <optional>
#include <string>

#include "nn/norm.h"
#include "nn/parameter_store.h"
#include "nn/pass.h"
#include "nn/positions.h"

namespace triptych::nn {

/// The parallel plan of the embeddings and of what is tied to them.
inline constexpr PlanRow kEmbeddingsPlan[] = {
    {"tokens.weight", on_tp(0)},                                 // [V, H] by rows: the vocabulary
    {"patch.weight", kWhole},                                    // [H, 3 P P]
    {"patch.bias", kWhole},                                      // [H]
    {"class_token", kWhole},                                     // [H]
    {"positions", kWhole.with(Axis::kCp, Placement::shard(0))},  // [S, H], as the stream that they are added to
    {"segments", kWhole},                                        // [kinds, H]
    {"logits", on_tp(2, kTokens)},                               // [B, S, V]
    {"logits.bias", on_tp(0)},                                   // [V]
};
inline constexpr PlanRow kEmbeddingsSequencePlan[] = {
    {"positions", on_cp_then_tp(0)},
};
inline constexpr PlanRow kEmbeddingsWholePlan[] = {
    {"positions", kWhole},
    {"logits", on_tp(2, kBatch)},
};

// Of the images that CLIP was trained on; what matters is that the network's input is near zero mean, unit variance.
inline constexpr std::array<float, 3> kPixelMean{0.48145466f, 0.4578275f, 0.40821073f};
inline constexpr std::array<float, 3> kPixelStd{0.26862954f, 0.26130258f, 0.27577711f};

/// What a pixel's channels, as values in [0, 1], are taken relative to: value = (channel - mean) / std.
struct PixelScale {
  std::array<float, 3> mean = kPixelMean, std = kPixelStd;

  bool operator==(const PixelScale&) const = default;
};

/// pixels uint8 [B, size, size, 3]; returns [B, P, 3 patch patch] of `dtype`: patches row by row of the image, in the
/// order of kernels/patchify.h, each value by `scale`.
Tensor image_patches(const Tensor& pixels, int64_t patch, const PixelScale& scale, DType dtype);

/// Images as sequences (Dosovitskiy et al. 2021): each patch of pixels times a matrix, an optional class token in
/// front, positions, and an optional norm, CLIP's `ln_pre`.
class PatchEmbedding {
 public:
  struct Config {
    int64_t size = 0, patch = 0, width = 0;  ///< pixels a side of the image and of a patch; H
    bool class_token = false;
    PositionKind positions = PositionKind::kLearned;
    std::optional<NormConfig> norm;
    int64_t visible = 0;  ///< patches that are embedded, a sample's own choice; 0: all
    PixelScale scale;
    bool bias = true;  ///< of the patches' product

    int64_t num_patches() const { return (size / patch) * (size / patch); }
    /// Of the whole image.
    PositionGrid grid() const { return {.sequence = num_patches() + (class_token ? 1 : 0), .side = size / patch}; }
    int64_t num_embedded() const { return visible > 0 ? visible : num_patches(); }
    int64_t sequence() const { return num_embedded() + (class_token ? 1 : 0); }
    /// Of one sample's forward pass; backward has as many, since pixels have no gradient.
    double forward_flops() const { return 2.0 * 3 * static_cast<double>(patch * patch * width * num_embedded()); }
  };
  PatchEmbedding(ParameterStore& store, const std::string& name, const Config& config);
  /// pixels uint8 [B, size, size, 3]; returns the stream [B, S, H].
  Variable forward(const Tensor& pixels, const Pass& pass) const;
  /// The same of some patches alone, each with the position that it has in the image.
  ///   visible   int32 [B, config.visible]: the patches of each sample's sequence, in this order
  Variable forward_visible(const Tensor& pixels, const Tensor& visible, const Pass& pass) const;

 private:
  Config config_;
  Variable embed(const Variable& patches, const Pass& pass) const;

  Parameter *weight_, *bias_;  // bias_: null where the product has none
  Parameter* class_token_ = nullptr;
  Positions positions_;
  OptionalNorm norm_;
};

/// Which kind a token is of, or which segment it belongs to: a learned row for each kind, small random values at first.
/// Sequences of several modalities that stand in one, and BERT's pairs of sentences, are told apart by it: one table in
/// one of the two ways, whose gradients are laid out differently.
class SegmentTable {
 public:
  /// "<name>.segments" [num_segments, H].
  SegmentTable(ParameterStore& store, const std::string& name, int64_t num_segments, int64_t width);

  /// x [B, S, H], the stream, with row `segment` added to every token; returns the stream.
  Variable add_one(const Variable& x, int64_t segment, const Pass& pass) const;
  /// x [B, S, H] in any layout, with the row of each token's segment added, int32 [B, S]; returns the stream.
  Variable add_each(const Variable& x, const Tensor& segments, const Pass& pass) const;

 private:
  Parameter* table_;
  int64_t width_;
};

/// A vocabulary's rows, over `tp` by rows, and what turns states back into scores of its tokens: the same matrix.
class TokenTable {
 public:
  /// `is_tied`: several blocks make it, with one name, and share it.
  TokenTable(ParameterStore& store, const std::string& name, int64_t vocabulary, int64_t width, bool is_tied);

  /// ids int32 [B, S]; returns [B, S, H], Partial on `tp`: redistribute it.
  Variable embed(const Tensor& ids, const Pass& pass) const;
  /// x [B, S, H] whole; returns logits [B, S, V] in the pass's dtype, by vocabulary over `tp`.
  ///   bias   [V], laid out as "logits.bias"; undefined: none
  Variable logits(const Variable& x, const Pass& pass, const Variable& bias = {}) const;

 private:
  Parameter* table_;
};

}  // namespace triptych::nn
