#include "evaluation/cider.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "evaluation/text_words.h"

namespace triptych::evaluation {
namespace {

constexpr double kSigma = 6;  // of the penalty for another length, in words

}  // namespace

CiderCounter::Counts CiderCounter::count(std::string_view text) {
  NgramIndex::Numbers numbers = index_.number(split_words(text));
  Counts counts{.num_words = static_cast<int64_t>(numbers[0].size())};
  for (std::size_t n = 0; n < numbers.size(); ++n) {
    std::sort(numbers[n].begin(), numbers[n].end());
    for (const NgramIndex::Number ngram : numbers[n]) {
      if (counts.by_order[n].empty() || counts.by_order[n].back().first != ngram) {
        counts.by_order[n].emplace_back(ngram, 0);
      }
      ++counts.by_order[n].back().second;
    }
    counts.by_order[n].shrink_to_fit();
  }
  return counts;
}

void CiderCounter::add(std::string_view produced, std::span<const std::string> references) {
  TRIPTYCH_CHECK(!references.empty(), "an image has no reference");
  Image image;
  std::vector<NgramIndex::Number> present;
  for (const std::string& reference : references) {
    image.references.push_back(count(reference));
    for (const auto& order : image.references.back().by_order) {
      for (const auto& [ngram, _] : order) present.push_back(ngram);
    }
  }
  std::sort(present.begin(), present.end());
  present.erase(std::unique(present.begin(), present.end()), present.end());
  num_images_with_.resize(index_.size(), 0);
  for (const NgramIndex::Number ngram : present) ++num_images_with_[ngram];
  image.produced = count(produced);
  images_.push_back(std::move(image));
}

std::vector<double> CiderCounter::scores() const {
  const double log_images = std::log(static_cast<double>(images_.size()));
  std::vector<double> inverse_frequency(index_.size(), log_images);
  for (std::size_t i = 0; i < num_images_with_.size(); ++i) {
    inverse_frequency[i] -= std::log(std::max(1.0, static_cast<double>(num_images_with_[i])));
  }
  const auto norm = [&](const Counts& counts, std::size_t n) {
    double sum = 0;
    for (const auto& [ngram, times] : counts.by_order[n]) {
      const double weight = times * inverse_frequency[ngram];
      sum += weight * weight;
    }
    return std::sqrt(sum);
  };
  // min(g(c), g(s)) . g(s), over the n-grams that both have.
  const auto clipped_product = [&](const Counts& produced, const Counts& reference, std::size_t n) {
    double sum = 0;
    auto theirs = reference.by_order[n].begin();
    const auto end = reference.by_order[n].end();
    for (const auto& [ngram, times] : produced.by_order[n]) {
      while (theirs != end && theirs->first < ngram) ++theirs;
      if (theirs == end) break;
      if (theirs->first != ngram) continue;
      const double weight = inverse_frequency[ngram];
      sum += std::min(times, theirs->second) * weight * (theirs->second * weight);
    }
    return sum;
  };

  std::vector<double> scores;
  scores.reserve(images_.size());
  for (const Image& image : images_) {
    std::array<double, NgramIndex::kMaxOrder> own_norms{};
    for (std::size_t n = 0; n < own_norms.size(); ++n) own_norms[n] = norm(image.produced, n);
    double score = 0;
    for (const Counts& reference : image.references) {
      const auto difference = static_cast<double>(image.produced.num_words - reference.num_words);
      double similarity = 0;
      for (std::size_t n = 0; n < own_norms.size(); ++n) {
        const double norms = own_norms[n] * norm(reference, n);
        if (norms > 0) similarity += clipped_product(image.produced, reference, n) / norms;
      }
      score += std::exp(-difference * difference / (2 * kSigma * kSigma)) * similarity;
    }
    scores.push_back(10 * score / static_cast<double>(NgramIndex::kMaxOrder * image.references.size()));
  }
  return scores;
}

double CiderCounter::corpus_score() const {
  const std::vector<double> all = scores();
  return all.empty() ? 0 : std::accumulate(all.begin(), all.end(), 0.0) / static_cast<double>(all.size());
}

}  // namespace triptych::evaluation
