#pragma once

#include <cstdint>

#include "base/philox.h"
#include "device/stream.h"

// Pairs of an image and a text that do not belong together, to learn to tell them from those that do.

namespace triptych::kernels {

/// Which samples of a batch are pairs, and which of these are to be mismatched. Samples stand in groups of `group` one
/// after the other, of which the last may be smaller, and none of them sees another group.
struct MatchedRows {
  const uint8_t* image_present = nullptr;  ///< [num_samples]
  const uint8_t* text_present = nullptr;   ///< [num_samples]
  const uint8_t* matched = nullptr;        ///< [num_samples] 0: the text is to get another sample's image
  int64_t num_samples = 0;
  int64_t group = 1;
};

/// out[i]: 1 where sample i is a pair and stays one, 0 where it is one and gets another's image, -1 where it is no
/// pair, or where no other of its group has an image.
void matching_targets(Stream& stream, const MatchedRows& rows, int32_t* out);

struct HardNegativesArgs {
  MatchedRows rows;
  const float* image = nullptr;  ///< [num_samples, embedding]
  const float* text = nullptr;   ///< [num_samples, embedding]
  int64_t embedding = 0;
  float scale = 1;  ///< what similarities are multiplied by
  RandomKey key;
  int64_t first_sample = 0;    ///< of the rows in the global batch, a multiple of the group
  int32_t* sources = nullptr;  ///< [num_samples] out
};

/// sources[i]: the sample whose image text i gets. Where the target is 0, sample j of its group, other than i and with
/// an image, with the probability exp(scale text_i . image_j) over the sum of these; else i itself.
///
/// Drawn by Gumbel's maximum from Philox words of (key, global sample i, place of j in the group): a function of the
/// group's rows alone, whatever else a batch holds.
void hard_negatives(Stream& stream, const HardNegativesArgs& args);

}  // namespace triptych::kernels
