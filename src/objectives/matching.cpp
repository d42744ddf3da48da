#include "objectives/matching.h"

#include "kernels/scalars.h"
#include "models/aligner.h"
#include "ops/cross_entropy.h"

namespace triptych::objectives {
namespace {

class Matching : public Objective {
 public:
  explicit Matching(int64_t group) : group_(group) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor targets = matching_targets_of(fields, group_);
    count_present(stream, targets.raw(), targets.dtype(), targets.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    return cross_entropy(slots[0], matching_targets_of(fields, group_), 1, pass.mesh, 0);
  }

 private:
  int64_t group_;
};

}  // namespace

ObjectiveSpec matching_objective(int64_t group, double weight) {
  return {.name = "matching",
          .slots = {"matching_scores"},
          .fields = {"image_present", "text_present", "matched"},
          .coupling = LossCoupling::kSplit,
          .weight = weight,
          .group = group,
          .make = [group](ParameterStore&) { return std::make_unique<Matching>(group); }};
}

}  // namespace triptych::objectives
