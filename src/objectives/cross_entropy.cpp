#include "objectives/cross_entropy.h"

#include "kernels/scalars.h"
#include "ops/cross_entropy.h"

namespace triptych::objectives {
namespace {

class CrossEntropy : public Objective {
 public:
  explicit CrossEntropy(const CrossEntropyConfig& config) : config_(config) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor& targets = fields[config_.field];
    count_present(stream, targets.raw(), targets.dtype(), targets.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    return cross_entropy(slots[0], fields[config_.field], 1, pass.mesh, config_.label_smoothing);
  }

 private:
  CrossEntropyConfig config_;
};

}  // namespace

ObjectiveSpec cross_entropy_objective(const CrossEntropyConfig& config) {
  return {.name = config.name,
          .slots = {config.slot},
          .fields = {config.field},
          .coupling = LossCoupling::kSplit,
          .weight = config.weight,
          .make = [config](ParameterStore&) { return std::make_unique<CrossEntropy>(config); }};
}

}  // namespace triptych::objectives
