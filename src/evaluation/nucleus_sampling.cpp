#include "evaluation/nucleus_sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"

namespace triptych::evaluation {

int32_t sample_nucleus(std::span<const float> log_probabilities, const NucleusOptions& options, double uniform) {
  TRIPTYCH_CHECK(options.top_p > 0 && options.top_p <= 1 && options.temperature > 0, "top_p {}, temperature {}",
                 options.top_p, options.temperature);
  const float largest = log_probabilities.empty()
                            ? -std::numeric_limits<float>::infinity()
                            : *std::max_element(log_probabilities.begin(), log_probabilities.end());
  TRIPTYCH_CHECK(std::isfinite(largest), "no token may come");
  std::vector<double> weights;
  double total = 0;
  for (const float x : log_probabilities) {
    weights.push_back(std::exp(static_cast<double>(x - largest) / options.temperature));
    total += weights.back();
  }
  std::vector<int32_t> order(weights.size());
  std::iota(order.begin(), order.end(), 0);
  const auto weight = [&](int32_t token) { return weights[static_cast<std::size_t>(token)]; };
  std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return weight(a) > weight(b); });
  double sum = 0;
  std::size_t count = 0;
  while (count < order.size() && weight(order[count]) > 0 && (count == 0 || sum < options.top_p * total)) {
    sum += weight(order[count++]);
  }
  double rest = uniform * sum;
  for (std::size_t k = 0; k + 1 < count; ++k) {
    rest -= weight(order[k]);
    if (rest < 0) return order[k];
  }
  return order[count - 1];
}

std::vector<DecodedSequence> sample_sequences(const DecodingStep& step, int64_t num_samples,
                                              const SamplingOptions& options, std::span<const int64_t> num_given) {
  TRIPTYCH_CHECK(options.max_length >= 1, "max_length {}", options.max_length);
  const auto count = static_cast<std::size_t>(num_samples);
  TRIPTYCH_CHECK(num_given.empty() || num_given.size() == count, "{} numbers of given tokens for {} samples",
                 num_given.size(), count);
  std::vector<DecodedSequence> results(count);
  std::vector<int64_t> parents(count);
  std::iota(parents.begin(), parents.end(), 0);
  std::vector<int32_t> tokens(count, options.begin_token);
  for (int64_t t = 0; t < options.max_length; ++t) {
    if (std::all_of(results.begin(), results.end(), [](const DecodedSequence& one) { return one.is_finished; })) break;
    const std::span<const float> all = step(parents, tokens);
    const std::size_t vocabulary = all.size() / count;
    for (std::size_t s = 0; s < count; ++s) {
      DecodedSequence& result = results[s];
      tokens[s] = options.end_token;
      if (result.is_finished) continue;
      const std::span<const float> row = all.subspan(s * vocabulary, vocabulary);
      const RandomKey key = random_key(options.seed, "decoding/nucleus", static_cast<uint64_t>(options.first_item) + s);
      const int64_t drawn = t - (num_given.empty() ? 0 : num_given[s]);
      if (drawn < 0) {
        tokens[s] = static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin());
        continue;
      }
      const double uniform = static_cast<double>(philox_word(key, static_cast<uint64_t>(drawn))) * 0x1.0p-32;
      tokens[s] = sample_nucleus(row, options.nucleus, uniform);
      result.log_probability += static_cast<double>(row[static_cast<std::size_t>(tokens[s])]);
      result.score = result.log_probability;
      result.is_finished = tokens[s] == options.end_token;
      if (!result.is_finished) result.tokens.push_back(tokens[s]);
    }
  }
  return results;
}

}  // namespace triptych::evaluation
