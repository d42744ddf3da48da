#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/model.h"

namespace triptych {

/// Vision Transformer (Dosovitskiy et al. 2021): patch embedding, learned positions, pre-norm blocks, pooling,
/// projection.
struct ImageTowerConfig {
  enum class Pooling { kClassToken, kMean };
  int64_t size = 64;  ///< pixels a side
  int64_t patch = 8;
  int64_t width = 256;
  int64_t layers = 6;
  int64_t heads = 4;
  int64_t feed_forward = 1024;
  Pooling pooling = Pooling::kClassToken;

  int64_t num_patches() const { return (size / patch) * (size / patch); }
  int64_t sequence() const { return num_patches() + (pooling == Pooling::kClassToken ? 1 : 0); }
};

/// Text Transformer, pooled at the end token.
struct TextTowerConfig {
  int64_t length = 32;  ///< tokens a caption, the begin and end tokens included
  int64_t vocabulary = 8192;
  int64_t width = 256;
  int64_t layers = 6;
  int64_t heads = 4;
  int64_t feed_forward = 1024;
  bool causal = true;
};

struct TwoTowerConfig {
  ImageTowerConfig image;
  TextTowerConfig text;
  int64_t embedding = 256;  ///< E, the shared space
  float dropout = 0;
};

/// A rule that the config breaks: which key, the values found, the remedy.
struct ConfigProblem {
  std::string key, rule, remedy;
};

/// Everything that the model and its plan over `tp` ask of the config; empty if all is well. Needs no rank.
std::vector<ConfigProblem> check_two_tower(const TwoTowerConfig& config, int tp);

/// Radford et al. 2021, CLIP: both towers in one list of blocks, ending with the slots "image_embedding" and
/// "text_embedding", float32 [B, E] of unit length.
ModelSpec two_tower(const TwoTowerConfig& config, bool sequence_parallel);

}  // namespace triptych
