#pragma once

#include <cmath>
#include <cstddef>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "objectives/cross_entropy.h"
#include "parallel/in_process_group.h"
#include "parallel/pipeline/schedules.h"
#include "support/gradient_check.h"
#include "support/rank_model.h"
#include "support/tolerance.h"

namespace triptych::test {

using Rows = std::vector<double>;
/// A model on one rank that runs to `slot`; nothing asks for the loss.
struct Alone {
  Alone(const ModelSpec& model, const std::string& slot)
      : group(make_self_group("models")),
        rank(*group, {}, model, {cross_entropy_objective({.name = "unused", .slot = slot, .field = "unused"})},
             gpipe(1, 1, LossCoupling::kSplit), {.seed = 5}) {
    // Nothing zero or one, which would hide what is wrong.
    for (Parameter* p : rank.store.all()) {
      const std::vector<float> values = random_values(p->name, p->global_shape.num_elements());
      rank.device.write(p->value.raw(), values.data(), values.size() * sizeof(float));
    }
    rank.store.refresh_compute_copies();
  }

  std::vector<float> infer(const Fields& fields, const std::string& slot) {
    return value_of(rank.executor.infer(fields, std::span(&slot, 1)), slot).tensor().to_vector<float>();
  }
  Rows parameter(const std::string& name) {
    for (const Parameter* p : rank.store.all()) {
      if (p->name != name) continue;
      const std::vector<float> values = p->value.to_vector<float>();
      return {values.begin(), values.end()};
    }
    throw std::out_of_range(name);
  }

  std::unique_ptr<Group> group;
  RankModel rank;
};

/// x [I] by a matrix [O, I], with a bias.
inline Rows product(const Rows& weight, const Rows& bias, const Rows& x) {
  Rows y = bias;
  for (std::size_t o = 0; o < y.size(); ++o) {
    for (std::size_t i = 0; i < x.size(); ++i) y[o] += weight[o * x.size() + i] * x[i];
  }
  return y;
}

inline Rows normalized(const Rows& x, const Rows& weight, const Rows& bias) {
  double mean = 0, variance = 0;
  for (const double value : x) mean += value / static_cast<double>(x.size());
  for (const double value : x) variance += (value - mean) * (value - mean) / static_cast<double>(x.size());
  Rows y;
  for (std::size_t i = 0; i < x.size(); ++i) {
    y.push_back((x[i] - mean) / std::sqrt(variance + static_cast<double>(kLayerNormEpsilon)) * weight[i] + bias[i]);
  }
  return y;
}

inline Rows row_of(const Rows& all, std::size_t row, std::size_t size) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * size);
  return {begin, begin + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace triptych::test
