#include "objectives/cross_entropy.h"

#include <utility>

#include "kernels/scalars.h"
#include "objectives/presence.h"
#include "ops/cross_entropy.h"

namespace triptych::objectives {
namespace {

class CrossEntropy : public Objective {
 public:
  explicit CrossEntropy(const CrossEntropyConfig& config) : config_(config) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor targets = targets_of_present_samples(fields, config_.field, config_.needs);
    count_present(stream, targets.raw(), targets.dtype(), targets.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    const Variable targets = pass.rows_of(slots[0], targets_of_present_samples(fields, config_.field, config_.needs));
    return cross_entropy(slots[0], targets.tensor(), 1, pass.mesh, config_.label_smoothing);
  }

 private:
  CrossEntropyConfig config_;
};

}  // namespace

ObjectiveSpec cross_entropy_objective(const CrossEntropyConfig& config) {
  std::vector<std::string> fields = config.needs;
  fields.push_back(config.field);
  return {.name = config.name,
          .slots = {config.slot},
          .fields = std::move(fields),
          .coupling = LossCoupling::kSplit,
          .weight = config.weight,
          .make = [config](ParameterStore&) { return std::make_unique<CrossEntropy>(config); }};
}

}  // namespace triptych::objectives
