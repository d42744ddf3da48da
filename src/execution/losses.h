#pragma once

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "autograd/backward.h"
#include "execution/stage.h"
#include "objectives/objective.h"

namespace triptych::execution {

/// The objectives of a run on the rank of its last stage, step by step.
class Losses {
 public:
  /// Makes the objectives' parameters in `store`.
  Losses(Device& device, std::span<const ObjectiveSpec> objectives, ParameterStore& store);

  /// Begins a step: counts the terms of split losses over the global batch. Collective over `dp`.
  ///   loss_scale   what gradients come out multiplied by, float32 [1] on the device; null: 1
  void begin_step(std::span<const Fields> microbatches, const Pass& pass, const float* loss_scale);
  /// The split losses of a microbatch, and their part of the run's loss: what its backward starts from.
  std::vector<Variable> split(const Values& slots, const Fields& fields, const Pass& pass);
  /// Takes a microbatch's slots for the coupled losses, unless they have been evaluated.
  void keep_for_coupled(int microbatch, const Values& slots);
  /// The coupled losses over the whole batch, and back to those of their slots that have gradients, `carried`: each
  /// microbatch's gradients, by slot.
  std::vector<std::map<std::string, Gradient>> coupled(std::span<const Fields> microbatches,
                                                       std::span<const Slot> carried, const Pass& pass,
                                                       const BackwardOptions& options);
  /// Where nothing is learned: evaluates the coupled losses as well, and gives all of them as
  /// Executor::measure_losses says.
  Tensor measured(std::span<const Fields> microbatches, const Pass& pass);
  /// Of the run's loss: what a backward starts from.
  Gradient seed() const { return {seed_, Layout()}; }
  /// The values of the step, this rank's summands: see Executor::run_step.
  Tensor values(const Pass& pass) const;

  const std::vector<std::string>& coupled_slots() const { return coupled_slots_; }
  std::vector<std::string> fields() const;
  std::map<std::string, double> gradient_magnitudes() const;

 private:
  struct Entry {
    ObjectiveSpec spec;
    std::unique_ptr<Objective> objective;
  };
  Tensor count_terms(std::span<const Fields> microbatches, const Pass& pass, bool of_coupled) const;
  Values gather_rows(std::span<const Slot> carried, const Pass& pass);
  std::vector<Variable> evaluate_coupled(std::span<const Fields> microbatches, const Values& slots, const Pass& pass);
  Variable evaluate(std::size_t index, std::span<const Variable> slots, const Fields& fields, const Pass& pass);

  Device* device_;
  std::vector<Entry> entries_;
  std::vector<std::string> coupled_slots_;
  Tensor one_;                // float32 [1]
  Tensor one_term_;           // float64 [1]: the count of a loss that is not a sum of terms
  Tensor seed_;               // float64 [1]
  Tensor counts_;             // float64 [objectives]: terms in the global batch
  Tensor sums_;               // float64 [1 + objectives]: this rank's summands of the run's loss and of each
  std::vector<Values> kept_;  // [microbatches] for the coupled losses; empty once these were evaluated
};

}  // namespace triptych::execution
