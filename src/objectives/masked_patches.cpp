#include "objectives/masked_patches.h"

#include <cmath>
#include <utility>

#include "kernels/scalars.h"
#include "models/masked_image.h"
#include "objectives/presence.h"
#include "ops/add.h"
#include "ops/gather.h"
#include "ops/scale.h"
#include "ops/sum_of_squares.h"

namespace triptych::objectives {
namespace {

class MaskedPatches : public Objective {
 public:
  explicit MaskedPatches(const MaskedPatchesConfig& config) : config_(config) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor masked = targets_of_present_samples(fields, "masked_patches", config_.needs);
    count_present(stream, masked.raw(), masked.dtype(), masked.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    const Variable masked = pass.rows(targets_of_present_samples(fields, "masked_patches", config_.needs));
    // Of a patch that is not there both sides are zeros. The root of 1 / N on both makes the sum of squares N's mean.
    const float root = 1 / std::sqrt(static_cast<float>(slots[0].global_shape().back()));
    const Variable minus_target =
        patch_targets(fields["pixels"], masked, config_.patch, config_.scale, config_.normalize, -root, pass);
    return sum_of_squares(add(scale(gather(slots[0], masked), root), minus_target));
  }

 private:
  MaskedPatchesConfig config_;
};

}  // namespace

ObjectiveSpec masked_patches_objective(const MaskedPatchesConfig& config) {
  std::vector<std::string> fields = config.needs;
  fields.insert(fields.end(), {"pixels", "masked_patches"});
  return {.name = "masked_patches",
          .slots = {"reconstruction"},
          .fields = std::move(fields),
          .coupling = LossCoupling::kSplit,
          .weight = config.weight,
          .make = [config](ParameterStore&) { return std::make_unique<MaskedPatches>(config); }};
}

}  // namespace triptych::objectives
