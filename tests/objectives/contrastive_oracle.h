#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "objectives/contrastive.h"
#include "support/gradient_check.h"

// The contrastive losses as their papers have them, in double, pair by pair.

namespace triptych::test {

using Kind = ContrastiveConfig::Kind;
using Rows = std::vector<double>;

inline constexpr float kBias = -3;

struct Batch {
  std::size_t size, width;
  Rows image, text;
  std::vector<bool> is_pair;  // of each sample; empty: all are

  // The samples that are pairs.
  std::vector<std::size_t> pairs() const {
    std::vector<std::size_t> numbers;
    for (std::size_t i = 0; i < size; ++i) {
      if (is_pair.empty() || is_pair[i]) numbers.push_back(i);
    }
    return numbers;
  }

  double dot(std::size_t i, std::size_t t) const {
    double sum = 0;
    for (std::size_t e = 0; e < width; ++e) sum += image[i * width + e] * text[t * width + e];
    return sum;
  }
};

inline Batch make_batch(std::size_t size, std::size_t width) {
  Batch batch{size, width, {}, {}, {}};
  for (Rows* rows : {&batch.image, &batch.text}) {
    const std::vector<float> values =
        random_values(rows == &batch.image ? "image" : "text", static_cast<int64_t>(size * width));
    for (std::size_t r = 0; r < size; ++r) {
      double squares = 0;
      for (std::size_t e = 0; e < width; ++e) squares += std::pow(values[r * width + e], 2);
      for (std::size_t e = 0; e < width; ++e) {
        rows->push_back(static_cast<float>(values[r * width + e] / std::sqrt(squares)));
      }
    }
  }
  return batch;
}

// Radford et al. 2021, figure 3: the mean of two cross-entropies, of rows and of columns. Of the pairs alone.
inline double info_nce(const Batch& batch, double log_scale, double) {
  const std::vector<std::size_t> pairs = batch.pairs();
  double loss = 0;
  for (const std::size_t r : pairs) {
    double over_texts = 0, over_images = 0;
    for (const std::size_t k : pairs) {
      over_texts += std::exp(std::exp(log_scale) * (batch.dot(r, k) - batch.dot(r, r)));
      over_images += std::exp(std::exp(log_scale) * (batch.dot(k, r) - batch.dot(r, r)));
    }
    loss += std::log(over_texts) + std::log(over_images);
  }
  return loss / 2 / static_cast<double>(pairs.size());
}

// Zhai et al. 2023, equation 1. Of the pairs alone.
inline double sigmoid(const Batch& batch, double log_scale, double bias) {
  const std::vector<std::size_t> pairs = batch.pairs();
  double loss = 0;
  for (const std::size_t i : pairs) {
    for (const std::size_t t : pairs) {
      const double logit = std::exp(log_scale) * batch.dot(i, t) + bias;
      loss += std::log1p(std::exp(i == t ? -logit : logit));
    }
  }
  return loss / static_cast<double>(pairs.size());
}

struct Expected {
  double loss = 0, dlog_scale = 0, dbias = 0;
  Rows dimage, dtext;
};

inline Expected expect(Batch batch, Kind kind, double log_scale) {
  const auto loss = kind == Kind::kInfoNce ? info_nce : sigmoid;
  const double h = 1e-5;
  Expected expected;
  expected.loss = loss(batch, log_scale, kBias);
  expected.dlog_scale = (loss(batch, log_scale + h, kBias) - loss(batch, log_scale - h, kBias)) / (2 * h);
  expected.dbias = (loss(batch, log_scale, kBias + h) - loss(batch, log_scale, kBias - h)) / (2 * h);
  for (const auto& [rows, gradient] :
       {std::pair{&batch.image, &expected.dimage}, std::pair{&batch.text, &expected.dtext}}) {
    for (double& x : *rows) {
      const double saved = x;
      x = saved + h;
      const double up = loss(batch, log_scale, kBias);
      x = saved - h;
      gradient->push_back((up - loss(batch, log_scale, kBias)) / (2 * h));
      x = saved;
    }
  }
  return expected;
}

inline Rows rows_of(const Rows& values, const Range& range, std::size_t width) {
  const auto begin = values.begin() + range.begin * static_cast<int64_t>(width);
  return {begin, begin + range.length * static_cast<int64_t>(width)};
}

}  // namespace triptych::test
