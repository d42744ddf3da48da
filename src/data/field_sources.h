#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "data/field_source.h"
#include "data/token_masking.h"
#include "data/transforms.h"
#include "text/tokenizer.h"

namespace triptych::data {

/// "pixels" uint8 [size, size, 3]: the image in RGB, zero where there is none. Training: augmented by `augment`, drawn
/// by (seed, position). Evaluation: as `augment.picture` says, by default the square in its middle.
/// Throws UserError if the size is not in 1 to 8192, or listing what is wrong with `augment`.
FieldSource pixels_field(int64_t image_size, const AugmentOptions& augment = {});

struct TextOptions {
  /// Also "targets" int32 [T], a decoder's teacher: at each position the token that follows; -1 where none does (from
  /// the caption's last token on) and all over a sample without a caption.
  bool targets = false;
  /// The row is about a question, and learns to answer it: "tokens" are begin, question, first answer, end; "targets"
  /// are -1 but where the token that follows is of the answer, or the end. What does not fit in T is cut off the end of
  /// the question, then of the answer. The question alone, between begin and end, with targets of -1, where it has no
  /// answer; in an evaluation the prompt to be gone on with: begin and question, "lengths" at least 1.
  bool with_answer = false;
  /// Also "masked_positions" and "masked_targets" int32 [K], K = masked_token_count(T - 2): where tokens are hidden in
  /// "tokens", and what they were; -1 beyond the last one, and all over a sample without a caption. The mask token is
  /// the tokenizer's, or where it has none the vocabulary's last, which the tokenizer must then leave free.
  std::optional<TokenMasking> masking = std::nullopt;
};

/// "tokens" int32 [T]: the row's caption between begin and end, padded; begin and end alone where there is none.
/// "lengths" int32 []: the tokens before the padding, at least those around a text. The caption is a text of whatever
/// role the loader was given. And what `options` ask for.
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

/// The boxes of the row's image, those that have a class, in the sample's order:
/// "boxes" float32 [N, 4]: left, top, right, bottom as shares of the square that the model sees, 0 to 1, cut at its
///   edges; 0 beyond the last one;
/// "box_classes" int32 [N]: -1 beyond the last one;
/// "boxes_present" uint8 []: 1 where the row shows an image whose sample has boxes with a class. One that has none
/// counts
///   as one whose boxes nobody drew.
///
/// A box is left out if the crop leaves less than a tenth of its area, and in a training also if that is narrower or
/// lower than a pixel of the square.
///
///   max_boxes     N, 1 to 1024; a sample that has more is an error of the user that names it and ends the run
///   num_classes   a class must be below it; one that is not is such an error as well
///   image_size    a side of the square, as for pixels_field
///   augment       as for pixels_field: the same crop and mirror are drawn
///
/// Throws UserError on sizes that break these.
FieldSource box_fields(int64_t max_boxes, int64_t num_classes, int64_t image_size, const AugmentOptions& augment = {});

/// Where in the image what the row's text names is; the loader's role is TextRole::kPhrase:
/// "phrase_box" float32 [4]: left, top, right, bottom as of box_fields, of the box that the text names, or of the
///   smallest box around those that it names; 0 where there is none;
/// "phrase_box_present" uint8 []: 1 where there is one: the row shows its image and its text, which names a box that
///   box_fields would not leave out.
/// Throws UserError if the size is not in 1 to 8192, or listing what is wrong with `augment`.
FieldSource phrase_box_fields(int64_t image_size, const AugmentOptions& augment = {});

/// "matched" uint8 []: 0 where a training's row is to be mismatched, its text with another sample's image: half of
/// them, drawn by (seed, position). 1 elsewhere, and 0 where there is no sample.
FieldSource matched_field();

/// "image_present", "text_present" uint8 []: 1 where the row shows an image, a text of the loader's role: the sample
/// has one, and modality dropout leaves it.
FieldSource presence_fields();

}  // namespace triptych::data
