#pragma once

#include "models/multimodal.h"
#include "tensor/field.h"

namespace triptych::models {

/// How texts get images that are not theirs.
struct MatchingConfig {
  int64_t group = 4;        ///< so many neighbouring samples of the global batch choose among each other
  float scale = 1 / 0.07f;  ///< what similarities are multiplied by when they choose
};

/// Of this rank's samples, by the fields "image_present", "text_present" and "matched": 1 where a text has its own
/// image, 0 where it gets another's, -1 where a sample is no pair; int32 [B]. See kernels/matching.h.
Tensor matching_targets_of(const Fields& fields, int64_t group);

/// Li et al. 2021, ALBEF: two towers whose embeddings meet, then a fusion encoder that sees image and text together.
struct AlignerConfig {
  MultimodalConfig parts;
  int64_t embedding = 256;  ///< E, the space in which images and texts meet
  MatchingConfig matching;
  int64_t num_masked = 1;  ///< K, the most tokens of a text that are guessed; 0: none, and no "logits"
};

/// Ends with "image_embedding" and "text_embedding", float32 [E] of unit length; "matching_scores", float32 [2],
/// whether image and text belong together (number 1) or not; and "logits" [K, V], place "logits": scores of every token
/// at the places of the field "masked_positions", out of what the fusion made of the text, by the token embedding's
/// matrix.
///
/// In a training, and where a loss is measured, texts of which the field "matched" is 0 get the image of another sample
/// (block "matching.pairs"), one that the embeddings find similar: a hard negative. It is one of their group, so that
/// no rank needs another's rows and every mesh chooses alike; the rows of a microbatch on a rank must be a multiple of
/// the group (UserError). Not in other evaluations: there a row is the pair that it shows. The paper runs each image
/// with its text and two mismatched pairs, and masks tokens in a pass of its own; here each row is one pair, and its
/// tokens are masked for all losses.
ModelSpec aligner(const AlignerConfig& config);

}  // namespace triptych::models
