#include "execution/losses.h"

#include <algorithm>

#include "kernels/elementwise.h"
#include "kernels/scalars.h"
#include "ops/mean_of_terms.h"
#include "parallel/redistribute.h"

namespace triptych::execution {
namespace {

// The pieces one below the other.
Tensor concatenate_rows(Device& device, const std::vector<Tensor>& pieces) {
  int64_t rows = 0;
  for (const Tensor& piece : pieces) rows += piece.size(0);
  const Tensor whole = Tensor::empty(device, pieces.front().dtype(), pieces.front().shape().with(0, rows));
  int64_t begin = 0;
  for (const Tensor& piece : pieces) {
    whole.slice(0, begin, piece.size(0)).copy_from(piece);
    begin += piece.size(0);
  }
  return whole;
}

}  // namespace

Losses::Losses(Device& device, std::span<const ObjectiveSpec> objectives, ParameterStore& store) : device_(&device) {
  for (const ObjectiveSpec& spec : objectives) {
    entries_.push_back({spec, spec.make(store)});
    if (spec.coupling != LossCoupling::kCoupled) continue;
    for (const std::string& slot : spec.slots) {
      if (std::find(coupled_slots_.begin(), coupled_slots_.end(), slot) == coupled_slots_.end()) {
        coupled_slots_.push_back(slot);
      }
    }
  }
  const float one = 1;
  one_ = Tensor::from<float>(device, Shape{1}, std::span(&one, 1));
  const double one_term = 1;
  one_term_ = Tensor::from<double>(device, Shape{1}, std::span(&one_term, 1));
}

void Losses::begin_step(std::span<const Fields> microbatches, const Pass& pass, const float* loss_scale) {
  seed_ = Tensor::empty(*device_, DType::kFloat64, Shape{1});
  widen(device_->stream(), loss_scale != nullptr ? loss_scale : one_.data<float>(), seed_.data<double>(), 1);
  sums_ = Tensor::zeros(*device_, DType::kFloat64, Shape{1 + static_cast<int64_t>(entries_.size())});
  kept_.assign(coupled_slots_.empty() ? 0 : microbatches.size(), {});
  counts_ = count_terms(microbatches, pass, false);
}

// In the global batch, of split objectives and maybe of coupled ones; undefined where there are none.
Tensor Losses::count_terms(std::span<const Fields> microbatches, const Pass& pass, bool of_coupled) const {
  Tensor counts;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    const Entry& entry = entries_[i];
    if (entry.spec.coupling != LossCoupling::kSplit && !of_coupled) continue;
    if (!counts.defined()) {
      counts = Tensor::zeros(*device_, DType::kFloat64, Shape{static_cast<int64_t>(entries_.size())});
    }
    for (const Fields& fields : microbatches) {
      entry.objective->count_terms(fields, device_->stream(), counts.data<double>() + i);
    }
  }
  if (!counts.defined()) return counts;
  Layout partial;  // where samples are shared out
  for (const Axis axis : kAxes) {
    if (pass.layout("batch")[axis].is_shard()) partial = partial.with(axis, Placement::partial());
  }
  return redistribute(counts, counts.shape(), partial, Layout(), pass.mesh);
}

// An objective's loss as its part of the run's, and both in the step's sums.
Variable Losses::evaluate(std::size_t index, std::span<const Variable> slots, const Fields& fields, const Pass& pass) {
  const Entry& entry = entries_[index];
  Variable loss = entry.objective->loss(slots, fields, pass);
  Stream& stream = device_->stream();
  const auto add_to_sums = [&](std::size_t place, const Variable& value) {
    if (!holds_first_copy(value.layout(), pass.mesh)) return;
    add_doubles(stream, sums_.data<double>() + place, value.tensor().data<double>(), 1);
  };
  Variable part;
  if (entry.spec.coupling == LossCoupling::kSplit) {
    const Tensor count = counts_.slice(0, static_cast<int64_t>(index), 1);
    part = mean_of_terms(loss, entry.spec.weight, count);
    loss = entry.spec.weight == 1 ? part : mean_of_terms(loss.detached(), 1, count);
  } else if (entry.spec.weight == 1) {
    part = loss;
  } else {
    part = mean_of_terms(loss, entry.spec.weight, one_term_);
  }
  add_to_sums(0, part);
  add_to_sums(1 + index, loss);
  return part;
}

std::vector<Variable> Losses::split(const Values& slots, const Fields& fields, const Pass& pass) {
  std::vector<Variable> parts;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].spec.coupling != LossCoupling::kSplit) continue;
    std::vector<Variable> read;
    for (const std::string& name : entries_[i].spec.slots) read.push_back(value_of(slots, name));
    parts.push_back(evaluate(i, read, fields, pass));
  }
  return parts;
}

void Losses::keep_for_coupled(int microbatch, const Values& slots) {
  if (kept_.empty()) return;
  for (const std::string& name : coupled_slots_) {
    kept_[static_cast<std::size_t>(microbatch)][name] = value_of(slots, name);
  }
}

// This rank's whole batch of the coupled losses' slots: leaves where gradients are carried on, else constants.
Values Losses::gather_rows(std::span<const Slot> carried, const Pass& pass) {
  Values slots;
  for (const std::string& name : coupled_slots_) {
    std::vector<Tensor> pieces;
    for (const Values& values : kept_) pieces.push_back(value_of(values, name).tensor());
    const Variable& first = value_of(kept_.front(), name);
    const Tensor whole = concatenate_rows(*device_, pieces);
    const Shape global = first.global_shape().with(0, whole.size(0) * pass.mesh.size(Axis::kDp));
    const bool is_carried =
        std::any_of(carried.begin(), carried.end(), [&](const Slot& slot) { return slot.name == name; });
    slots[name] =
        is_carried ? Variable::leaf(whole, global, first.layout()) : Variable::constant(whole, global, first.layout());
  }
  kept_.clear();
  return slots;
}

std::vector<Variable> Losses::evaluate_coupled(std::span<const Fields> microbatches, const Values& slots,
                                               const Pass& pass) {
  std::vector<Variable> parts;
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (entries_[i].spec.coupling != LossCoupling::kCoupled) continue;
    std::vector<Variable> read;
    for (const std::string& name : entries_[i].spec.slots) read.push_back(value_of(slots, name));
    Fields whole(microbatches.front().num_samples() * static_cast<int64_t>(microbatches.size()));
    for (const std::string& name : entries_[i].spec.fields) {
      std::vector<Tensor> pieces;
      for (const Fields& fields : microbatches) pieces.push_back(fields[name]);
      whole.set(name, concatenate_rows(*device_, pieces));
    }
    parts.push_back(evaluate(i, read, whole, pass));
  }
  return parts;
}

std::vector<std::map<std::string, Gradient>> Losses::coupled(std::span<const Fields> microbatches,
                                                             std::span<const Slot> carried, const Pass& pass,
                                                             const BackwardOptions& options) {
  const Values slots = gather_rows(carried, pass);
  const std::vector<Variable> parts = evaluate_coupled(microbatches, slots, pass);
  const std::vector<Gradient> seeds(parts.size(), seed());
  backward(parts, seeds, options);

  std::vector<std::map<std::string, Gradient>> gradients(microbatches.size());
  for (const Slot& slot : carried) {
    const auto leaf = slots.find(slot.name);
    if (leaf == slots.end()) continue;
    const std::string& name = slot.name;
    const std::optional<Gradient> gradient = leaf->second.gradient();
    TRIPTYCH_CHECK(gradient && gradient->layout == leaf->second.layout(), "the coupled losses give no gradient of {}",
                   name);
    const int64_t piece = gradient->tensor.size(0) / static_cast<int64_t>(microbatches.size());
    for (std::size_t m = 0; m < gradients.size(); ++m) {
      gradients[m][name] = {gradient->tensor.slice(0, static_cast<int64_t>(m) * piece, piece).contiguous(),
                            gradient->layout};
    }
  }
  return gradients;
}

Tensor Losses::measured(std::span<const Fields> microbatches, const Pass& pass) {
  if (!coupled_slots_.empty()) evaluate_coupled(microbatches, gather_rows({}, pass), pass);
  const auto num_objectives = static_cast<int64_t>(entries_.size());
  const Tensor counts = count_terms(microbatches, pass, true);
  const Tensor values = Tensor::zeros(*device_, DType::kFloat64, Shape{2, num_objectives});
  const std::size_t bytes = entries_.size() * sizeof(double);
  device_->copy(values.raw(), sums_.data<double>() + 1, bytes);
  if (holds_first_copy(Layout(), pass.mesh)) {
    device_->copy(values.data<double>() + num_objectives, counts.raw(), bytes);
  }
  return values;
}

Tensor Losses::values(const Pass& pass) const {
  int64_t num_scalars = 0;
  for (const Entry& entry : entries_) num_scalars += static_cast<int64_t>(entry.spec.scalars.size());
  const int64_t num_losses = entries_.size() > 1 ? sums_.size(0) : 1;
  const Tensor values = Tensor::zeros(*device_, DType::kFloat64, Shape{num_losses + num_scalars});
  device_->copy(values.raw(), sums_.raw(), static_cast<std::size_t>(num_losses) * sizeof(double));
  if (!holds_first_copy(Layout(), pass.mesh)) return values;
  double* scalars = values.data<double>() + num_losses;
  for (const Entry& entry : entries_) {
    entry.objective->write_scalars(device_->stream(), scalars);
    scalars += entry.spec.scalars.size();
  }
  return values;
}

std::vector<std::string> Losses::fields() const {
  std::vector<std::string> names;
  for (const Entry& entry : entries_) names.insert(names.end(), entry.spec.fields.begin(), entry.spec.fields.end());
  return names;
}

std::map<std::string, double> Losses::gradient_magnitudes() const {
  std::map<std::string, double> all;
  for (const Entry& entry : entries_) all.merge(entry.objective->gradient_magnitudes());
  return all;
}

}  // namespace triptych::execution
