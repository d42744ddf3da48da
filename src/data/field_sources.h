#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/field_source.h"
#include "data/token_masking.h"
#include "data/tokenizer.h"
#include "data/transforms.h"

namespace triptych::data {

/// "pixels" uint8 [size, size, 3]: the image in RGB, zero where there is none. Training: augmented by `augment`, drawn
/// by (seed, position). Evaluation: the square in its middle.
/// Throws UserError if the size is not in 1 to 8192, or listing what is wrong with `augment`.
FieldSource pixels_field(int64_t image_size, const AugmentOptions& augment = {});

struct TextOptions {
  /// Also "targets" int32 [T], a decoder's teacher: at each position the token that follows; -1 where none does (from
  /// the caption's last token on) and all over a sample without a caption.
  bool targets = false;
  /// Also "masked_positions" and "masked_targets" int32 [K], K = max_masked_tokens(T): where tokens are hidden in
  /// "tokens", and what they were; -1 beyond the last one, and all over a sample without a caption. The mask token is
  /// the vocabulary's last, which the tokenizer must leave free.
  std::optional<TokenMasking> masking = std::nullopt;
};

/// "tokens" int32 [T]: the row's caption between begin and end, padded; begin and end alone where there is none.
/// "lengths" int32 []: the tokens before the padding, at least 2. And what `options` ask for.
///
///   tokenizer    null: for synthesis alone
///   length       T, 2 to 65536
///   vocabulary   of the model; the tokenizer has at most so many pieces
///
/// Throws UserError on a length or vocabulary that breaks these; `make` does if there is no tokenizer.
FieldSource text_fields(std::shared_ptr<const Tokenizer> tokenizer, int64_t length, int64_t vocabulary,
                        const TextOptions& options = {});

/// Which V of an image's P patches a masked autoencoder sees, drawn by (seed, position):
/// "visible_patches" int32 [V]: their numbers, row by row of the image, ascending;
/// "masked_patches" int32 [P - V]: the others, ascending; -1 where there is no image;
/// "patch_sources" int32 [P]: of each patch 0 where it is masked, k + 1 where it is visible_patches[k].
/// Throws UserError unless 0 < V < P.
FieldSource patch_mask_fields(int64_t num_patches, int64_t num_visible);

/// "label" int32 []: the sample's class, -1 where it has none. A label outside [0, num_classes) is an error of the user
/// that names the sample and ends the run. Throws UserError if num_classes is not in 1 to 2^31 - 1.
FieldSource label_field(int64_t num_classes);

/// "image_present", "text_present" uint8 []: 1 where the row shows an image, a caption: the sample has one, and
/// modality dropout leaves it.
FieldSource presence_fields();

}  // namespace triptych::data
