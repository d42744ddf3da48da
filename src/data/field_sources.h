#pragma once

#include <cstdint>
#include <memory>

#include "data/field_source.h"
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

/// "label" int32 []: the sample's class, -1 where it has none. A label outside [0, num_classes) is an error of the user
/// that names the sample and ends the run. Throws UserError if num_classes is not in 1 to 2^31 - 1.
FieldSource label_field(int64_t num_classes);

/// "image_present", "text_present" uint8 []: 1 where the row shows an image, a caption: the sample has one, and
/// modality dropout leaves it.
FieldSource presence_fields();

}  // namespace triptych::data
