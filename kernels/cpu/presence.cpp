#include "kernels/presence.h"

namespace triptych::kernels {

void both_present(Stream&, const uint8_t* a, const uint8_t* b, uint8_t* out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = a[i] != 0 && b[i] != 0 ? 1 : 0;
}

void targets_of_present(Stream&, const int32_t* targets, const uint8_t* present, int64_t num_samples,
                        int64_t per_sample, int32_t* out) {
  for (int64_t s = 0; s < num_samples; ++s) {
    const bool is_present = present[s] != 0;
    for (int64_t i = s * per_sample; i < (s + 1) * per_sample; ++i) out[i] = is_present ? targets[i] : -1;
  }
}

void sources_of_present(Stream&, const uint8_t* present, int64_t num_samples, int64_t num_tokens, int32_t* out) {
  for (int64_t s = 0; s < num_samples; ++s) {
    const bool is_present = present[s] != 0;
    for (int64_t t = 0; t < num_tokens; ++t) out[s * num_tokens + t] = is_present ? static_cast<int32_t>(t + 1) : 0;
  }
}

void lengthen(Stream&, const int32_t* lengths, int32_t added, int64_t n, int32_t* out) {
  for (int64_t i = 0; i < n; ++i) out[i] = lengths[i] + added;
}

}  // namespace triptych::kernels
