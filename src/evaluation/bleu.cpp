#include "evaluation/bleu.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "base/error.h"
#include "evaluation/caption_words.h"
#include "evaluation/ngram_index.h"

namespace triptych::evaluation {

void BleuCounter::add(std::string_view produced, std::span<const std::string> references) {
  TRIPTYCH_CHECK(!references.empty(), "a segment has no reference");
  NgramIndex index;
  const NgramIndex::Numbers ours = index.number(words_13a(produced));
  const auto length = static_cast<int64_t>(ours[0].size());
  std::vector<int64_t> most(index.size(), 0);  // in one reference, of each of our n-grams
  std::pair<int64_t, int64_t> nearest{-1, 0};  // difference, length
  for (const std::string& reference : references) {
    const NgramIndex::Numbers theirs = index.number(words_13a(reference));
    std::vector<int64_t> counts(most.size(), 0);
    for (const auto& order : theirs) {
      for (const NgramIndex::Number ngram : order) {
        if (ngram < counts.size()) ++counts[ngram];
      }
    }
    for (std::size_t i = 0; i < most.size(); ++i) most[i] = std::max(most[i], counts[i]);
    const auto their_length = static_cast<int64_t>(theirs[0].size());
    const std::pair candidate{std::abs(their_length - length), their_length};
    if (nearest.first < 0 || candidate < nearest) nearest = candidate;
  }
  for (std::size_t n = 0; n < ours.size(); ++n) {
    produced_[n] += static_cast<int64_t>(ours[n].size());
    for (const NgramIndex::Number ngram : ours[n]) found_[n] += most[ngram]-- > 0;
  }
  produced_length_ += length;
  reference_length_ += nearest.second;
  ++num_segments_;
}

BleuScore BleuCounter::corpus_score() const {
  BleuScore score{.produced_length = produced_length_, .reference_length = reference_length_};
  if (produced_length_ < reference_length_) {
    score.brevity_penalty =
        produced_length_ == 0
            ? 0
            : std::exp(1 - static_cast<double>(reference_length_) / static_cast<double>(produced_length_));
  }
  if (found_[0] == 0) return score;  // and no longer one either
  double sum_of_logs = 0, smoothing = 1;
  for (std::size_t n = 0; n < produced_.size(); ++n) {
    if (produced_[n] == 0) return score;
    const auto total = static_cast<double>(produced_[n]);
    if (found_[n] == 0) smoothing *= 2;
    score.precisions[n] = 100 * (found_[n] == 0 ? 1 / smoothing : static_cast<double>(found_[n])) / total;
    sum_of_logs += std::log(score.precisions[n]);
  }
  score.score = score.brevity_penalty * std::exp(sum_of_logs / static_cast<double>(produced_.size()));
  return score;
}

}  // namespace triptych::evaluation
