#pragma once

#include <cfloat>

#include "kernels/matching.h"

// One sample's share of the kernels of matching.h: one rule for both backends (constexpr is compiled for the device as
// well).

namespace triptych::kernels {

/// The group of sample i: [begin, end).
struct MatchingGroup {
  int64_t begin, end;
};
constexpr MatchingGroup group_of(const MatchedRows& rows, int64_t i) {
  const int64_t begin = i / rows.group * rows.group, end = begin + rows.group;
  return {begin, end < rows.num_samples ? end : rows.num_samples};
}

constexpr int32_t matching_target(const MatchedRows& rows, int64_t i) {
  if (rows.image_present[i] == 0 || rows.text_present[i] == 0) return -1;
  if (rows.matched[i] != 0) return 1;
  const MatchingGroup group = group_of(rows, i);
  for (int64_t j = group.begin; j < group.end; ++j) {
    if (j != i && rows.image_present[j] != 0) return 0;
  }
  return -1;
}

/// `gumbel(u)`: -log(-log u), double.
template <typename Gumbel>
constexpr int32_t hard_negative(const HardNegativesArgs& args, int64_t i, const Gumbel& gumbel) {
  if (matching_target(args.rows, i) != 0) return static_cast<int32_t>(i);
  const MatchingGroup group = group_of(args.rows, i);
  int64_t best = i;
  float best_score = -FLT_MAX;
  for (int64_t j = group.begin; j < group.end; ++j) {
    if (j == i || args.rows.image_present[j] == 0) continue;
    float dot = 0;
    for (int64_t e = 0; e < args.embedding; ++e) {
      dot += args.text[i * args.embedding + e] * args.image[j * args.embedding + e];
    }
    const uint64_t place = static_cast<uint64_t>((args.first_sample + i) * args.rows.group + (j - group.begin));
    // In (0, 1): half a step off both ends.
    const double u = (static_cast<double>(philox4x32(args.key, place)[0]) + 0.5) * 0x1.0p-32;
    const float score = args.scale * dot + static_cast<float>(gumbel(u));
    if (best == i || score > best_score) {
      best = j;
      best_score = score;
    }
  }
  return static_cast<int32_t>(best);
}

}  // namespace triptych::kernels
