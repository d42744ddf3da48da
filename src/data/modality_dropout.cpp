#include "data/modality_dropout.h"

#include "base/error.h"
#include "base/philox.h"

namespace triptych::data {

void check_modality_dropout(const ModalityDropout& dropout) {
  const bool is_sound = dropout.image >= 0 && dropout.text >= 0 && dropout.image + dropout.text <= 1;  // not so for NaN
  if (is_sound) return;
  throw UserError("modality dropout",
                  fmt::format("the shares of image and text must be 0 to 1 and their sum at most 1, "
                              "found {} and {}. Correct the configuration.",
                              dropout.image, dropout.text));
}

SampleParts shown_parts(const SampleRecord& record, const ModalityDropout& dropout, uint64_t seed, uint64_t position,
                        TextRole role) {
  const bool has_text = record.has_text(role);
  if (!record.has_image()) return has_text ? SampleParts::kCaptions : SampleParts::kNone;
  if (!has_text) return SampleParts::kImage;
  const double draw = philox_word(random_key(seed, "modality dropout", position), 0) * 0x1p-32;  // in [0, 1)
  if (draw < dropout.image) return SampleParts::kCaptions;
  return draw < dropout.image + dropout.text ? SampleParts::kImage : SampleParts::kAll;
}

}  // namespace triptych::data
