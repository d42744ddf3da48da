#pragma once

#include <cstdint>

#include "device/stream.h"

// Which samples of a batch are there: flags of a byte, 0 where one is not.

namespace triptych::kernels {

/// out[i] = 1 where neither a[i] nor b[i] is 0, else 0. `out` may be one of them.
void both_present(Stream& stream, const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t n);

/// out = targets, and -1 for the samples that are absent.
///   targets, out  [num_samples, per_sample]; may be the same memory
///   present       [num_samples]
void targets_of_present(Stream& stream, const int32_t* targets, const uint8_t* present, int64_t num_samples,
                        int64_t per_sample, int32_t* out);

/// Where the tokens of a sequence come from that has a token for an absent one in front: out[s, t] = t + 1, and 0 all
/// over the samples that are absent.
///   present  [num_samples]
///   out      [num_samples, num_tokens]
void sources_of_present(Stream& stream, const uint8_t* present, int64_t num_samples, int64_t num_tokens, int32_t* out);

/// out[i] = lengths[i] + added: of sequences behind `added` tokens of another kind. `out` may be `lengths`.
void lengthen(Stream& stream, const int32_t* lengths, int32_t added, int64_t n, int32_t* out);

}  // namespace triptych::kernels
