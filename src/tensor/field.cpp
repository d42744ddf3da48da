#include "tensor/field.h"

namespace triptych::tensor {

Shape FieldSpec::batch_shape(int64_t num_samples) const {
  std::vector<int64_t> all{num_samples};
  all.insert(all.end(), dims.begin(), dims.end());
  return Shape(std::span<const int64_t>(all));
}

void Fields::set(std::string_view name, Tensor values) {
  TRIPTYCH_CHECK(values.defined() && values.shape().rank() >= 1 && values.size(0) == num_samples_,
                 "field {} is {}, of {} samples", name, values.defined() ? values.shape().to_string() : "undefined",
                 num_samples_);
  tensors_.insert_or_assign(std::string(name), std::move(values));
}

const Tensor& Fields::operator[](std::string_view name) const {
  const auto found = tensors_.find(name);
  if (found == tensors_.end()) {
    std::string there;
    for (const auto& [other, values] : tensors_) there += (there.empty() ? "" : ", ") + other;
    throw InternalError("fields", fmt::format("{} is read but not there, found {}. Name it in BlockSpec::fields.", name,
                                              there.empty() ? "none" : there));
  }
  return found->second;
}

std::vector<Fields> Fields::cut(int count) const {
  TRIPTYCH_CHECK(count >= 1 && num_samples_ % count == 0, "{} samples in {} microbatches", num_samples_, count);
  const int64_t piece = num_samples_ / count;
  std::vector<Fields> result;
  for (int m = 0; m < count; ++m) {
    Fields& microbatch = result.emplace_back(piece);
    for (const auto& [name, values] : tensors_) microbatch.tensors_.emplace(name, values.slice(0, m * piece, piece));
  }
  return result;
}

}  // namespace triptych::tensor
