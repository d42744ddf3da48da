#include "objectives/grounding.h"

#include <utility>

#include "kernels/presence.h"
#include "kernels/scalars.h"
#include "objectives/presence.h"
#include "ops/box_loss.h"

namespace triptych::objectives {
namespace {

class GroundingLoss : public Objective {
 public:
  explicit GroundingLoss(const GroundingConfig& config) : config_(config) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor present = present_samples(fields, config_.needs);
    count_present(stream, present.raw(), present.dtype(), present.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    const Tensor present = present_samples(fields, config_.needs);
    // 0, the number of the only box, where there is one.
    const Tensor first = Tensor::zeros(pass.device, DType::kInt32, present.shape());
    const Tensor boxes = Tensor::empty(pass.device, DType::kInt32, present.shape());
    targets_of_present(pass.device.stream(), first.data<int32_t>(), present.data<uint8_t>(), present.size(0), 1,
                       boxes.data<int32_t>());
    return box_loss(slots[0], fields["phrase_box"], boxes, {.l1 = config_.l1_weight, .giou = config_.giou_weight});
  }

 private:
  GroundingConfig config_;
};

}  // namespace

ObjectiveSpec grounding_objective(const GroundingConfig& config) {
  GroundingConfig all = config;
  all.needs.emplace_back("phrase_box_present");
  std::vector<std::string> fields = all.needs;
  fields.emplace_back("phrase_box");
  return {.name = "grounding",
          .slots = {"box"},
          .fields = std::move(fields),
          .coupling = LossCoupling::kSplit,
          .weight = config.weight,
          .make = [all](ParameterStore&) { return std::make_unique<GroundingLoss>(all); }};
}

}  // namespace triptych::objectives
