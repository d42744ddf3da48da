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

/// A model on one rank.
struct Alone {
  /// With its initial values.
  Alone(const ModelSpec& model, const ObjectiveSpec& objective)
      : group(make_self_group("models")),
        rank(*group, {}, model, {objective}, gpipe({1, 1, 1, LossCoupling::kSplit}), {.seed = 5}) {}
  /// With random values, to run to `slot`; nothing asks for the loss.
  Alone(const ModelSpec& model, const std::string& slot)
      : Alone(model, cross_entropy_objective({.name = "unused", .slot = slot, .field = "unused"})) {
    randomize();
  }

  /// Values of the parameters' names, none of them zero or one, which would hide what is wrong.
  void randomize(double scale = 1) {
    for (const Parameter* p : rank.store.all()) {
      write(p->name, random_values(p->name, p->global_shape.num_elements(), scale));
    }
  }
  void write(const std::string& name, const std::vector<float>& values) {
    rank.device.write(find(name).value.raw(), values.data(), values.size() * sizeof(float));
    rank.store.refresh_compute_copies();
  }
  std::vector<float> infer(const Fields& fields, const std::string& slot) {
    return value_of(rank.executor.infer(fields, std::span(&slot, 1)), slot).tensor().to_vector<float>();
  }
  /// The same in double precision, as references take it.
  Rows infer_rows(const Fields& fields, const std::string& slot) {
    const std::vector<float> values = infer(fields, slot);
    return {values.begin(), values.end()};
  }
  Parameter& find(const std::string& name) {
    for (Parameter* p : rank.store.all()) {
      if (p->name == name) return *p;
    }
    throw std::out_of_range(name);
  }
  Rows parameter(const std::string& name) {
    const std::vector<float> values = find(name).value.to_vector<float>();
    return {values.begin(), values.end()};
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

/// The exact GELU.
inline Rows gelu(Rows x) {
  for (double& value : x) value *= 0.5 * std::erfc(-value / std::sqrt(2.0));
  return x;
}

inline Rows row_of(const Rows& all, std::size_t row, std::size_t size) {
  const auto begin = all.begin() + static_cast<std::ptrdiff_t>(row * size);
  return {begin, begin + static_cast<std::ptrdiff_t>(size)};
}

}  // namespace triptych::test
