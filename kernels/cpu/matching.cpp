#include "kernels/matching.h"

#include <cmath>

#include "kernels/matching_rule.h"

namespace triptych::kernels {

void matching_targets(Stream&, const MatchedRows& rows, int32_t* out) {
  for (int64_t i = 0; i < rows.num_samples; ++i) out[i] = matching_target(rows, i);
}

void hard_negatives(Stream&, const HardNegativesArgs& args) {
  const auto gumbel = [](double u) { return -std::log(-std::log(u)); };
  for (int64_t i = 0; i < args.rows.num_samples; ++i) args.sources[i] = hard_negative(args, i, gumbel);
}

}  // namespace triptych::kernels
