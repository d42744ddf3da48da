#include "objectives/detection.h"

#include <array>
#include <utility>

#include "kernels/scalars.h"
#include "objectives/box_matching.h"
#include "objectives/presence.h"
#include "ops/box_loss.h"
#include "ops/cross_entropy.h"
#include "ops/gather.h"
#include "ops/sum_of_losses.h"
#include "parallel/redistribute.h"

namespace triptych::objectives {
namespace {

// Values of a tensor on their way to the host, in memory that is kept from one use to the next.
class HostCopy {
 public:
  void begin(const Tensor& tensor) {
    const Tensor whole = tensor.contiguous();
    num_bytes_ = whole.num_bytes();
    if (num_bytes_ == 0) return;
    if (memory_.size() < num_bytes_) memory_ = whole.device().allocate_host(num_bytes_);
    arrived_ = whole.device().download(memory_, whole.raw(), num_bytes_);
  }
  void wait(const Pass& pass) const {
    if (num_bytes_ > 0) wait_on_host(arrived_, [&] { pass.mesh.progress(); });
  }
  /// Of row `row` of `num_rows`.
  template <typename T>
  std::span<const T> row(int64_t row, int64_t num_rows) const {
    const std::size_t size = num_bytes_ / sizeof(T) / static_cast<std::size_t>(num_rows);
    return {reinterpret_cast<const T*>(memory_.data()) + static_cast<std::size_t>(row) * size, size};
  }

 private:
  HostBuffer memory_;
  Event arrived_;
  std::size_t num_bytes_ = 0;
};

// What the queries of a sample are to find, a row each: the numbers of objects, their classes, and the class "nothing";
// -1 where a query is to find none.
enum Wanted : int64_t { kObject, kClass, kNothing, kNumWanted };

class DetectionLoss : public Objective {
 public:
  explicit DetectionLoss(const DetectionConfig& config) : config_(config) {}

  void count_terms(const Fields& fields, Stream& stream, double* count) const override {
    const Tensor classes = targets_of_present_samples(fields, "box_classes", config_.needs);
    count_present(stream, classes.raw(), classes.dtype(), classes.num_elements(), count);
  }

  Variable loss(std::span<const Variable> slots, const Fields& fields, const Pass& pass) override {
    const Variable &logits = slots[0], &boxes = slots[1];
    const Tensor wanted = match(logits, boxes, fields, pass);
    const auto row = [&](Wanted which) {
      const Tensor one = wanted.slice(1, which, 1).contiguous();
      return one.view(Shape{one.size(0), one.size(2)});
    };
    const Tensor objects = row(kObject);
    const Tensor truths = gather(pass.rows(fields["boxes"]), pass.rows(objects)).tensor();
    return sum_of_losses(
        {cross_entropy(logits, row(kClass), config_.class_weight, pass.mesh),
         cross_entropy(logits, row(kNothing), config_.class_weight * config_.nothing_weight, pass.mesh),
         box_loss(boxes, truths, objects, {.l1 = config_.l1_weight, .giou = config_.giou_weight})});
  }

 private:
  // int32 [B, kNumWanted, Q] of this rank's samples.
  Tensor match(const Variable& logits, const Variable& boxes, const Fields& fields, const Pass& pass);

  DetectionConfig config_;
  HostCopy logits_, boxes_, truths_, labels_, present_;
};

Tensor DetectionLoss::match(const Variable& logits, const Variable& boxes, const Fields& fields, const Pass& pass) {
  const int64_t num_samples = boxes.tensor().size(0), num_queries = boxes.tensor().size(1);
  const auto nothing = static_cast<int32_t>(logits.global_shape().back()) - 1;
  const Range share = shard_range(num_samples, pass.mesh.size(Axis::kTp), pass.mesh.rank(Axis::kTp));
  const auto mine = [&](const Tensor& all) { return all.slice(0, share.begin, share.length); };
  const Tensor present = present_samples(fields, config_.needs);
  logits_.begin(mine(logits.tensor()));
  boxes_.begin(mine(boxes.tensor()));
  truths_.begin(mine(fields["boxes"]));
  labels_.begin(mine(fields["box_classes"]));
  if (present.defined()) present_.begin(mine(present));
  for (const HostCopy* copy : {&logits_, &boxes_, &truths_, &labels_, &present_}) copy->wait(pass);

  const Shape shape{share.length, kNumWanted, num_queries};
  std::vector<int32_t> wanted(static_cast<std::size_t>(shape.num_elements()), -1);
  for (int64_t i = 0; i < share.length; ++i) {
    if (present.defined() && present_.row<uint8_t>(i, share.length)[0] == 0) continue;
    const QueriesAndObjects image{.logits = logits_.row<float>(i, share.length),
                                  .boxes = boxes_.row<float>(i, share.length),
                                  .truths = truths_.row<float>(i, share.length),
                                  .labels = labels_.row<int32_t>(i, share.length)};
    const std::vector<int32_t> objects =
        match_queries(image, {.classes = config_.class_weight, .l1 = config_.l1_weight, .giou = config_.giou_weight});
    for (int64_t q = 0; q < num_queries; ++q) {
      const auto at = [&](Wanted which) -> int32_t& {
        return wanted[static_cast<std::size_t>((i * kNumWanted + which) * num_queries + q)];
      };
      const int32_t object = objects[static_cast<std::size_t>(q)];
      if (object < 0) {
        at(kNothing) = nothing;
      } else {
        at(kObject) = object;
        at(kClass) = image.labels[static_cast<std::size_t>(object)];
      }
    }
  }
  const Layout batch = pass.layout("batch");
  const Layout shared = on_mesh(batch.with(Axis::kTp, Placement::shard(0, 1)), pass.mesh);
  return redistribute(Tensor::from<int32_t>(pass.device, shape, wanted),
                      Shape{boxes.global_shape()[0], kNumWanted, num_queries}, shared, batch, pass.mesh);
}

}  // namespace

ObjectiveSpec detection_objective(const DetectionConfig& config) {
  std::vector<std::string> fields = config.needs;
  fields.insert(fields.end(), {"boxes", "box_classes"});
  return {.name = "detection",
          .slots = {"class_logits", "boxes"},
          .fields = std::move(fields),
          .coupling = LossCoupling::kSplit,
          .weight = config.weight,
          .make = [config](ParameterStore&) { return std::make_unique<DetectionLoss>(config); }};
}

}  // namespace triptych::objectives
