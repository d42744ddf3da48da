#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace triptych::tensor {

/// What a field of a batch is: its name, and what it holds of one sample.
struct FieldSpec {
  std::string name;
  DType dtype = DType::kFloat32;
  Shape dims;  ///< of one sample; none: a scalar

  /// Bytes of one sample.
  int64_t row_bytes() const { return dims.num_elements() * static_cast<int64_t>(dtype_bytes(dtype)); }
  /// The field of `num_samples` samples: [num_samples, dims...].
  Shape batch_shape(int64_t num_samples) const;
  bool operator==(const FieldSpec&) const = default;
};

/// The data of some samples on a rank's device, by name: "pixels", "tokens", "label". What the loader fills and the
/// feeder copies is what blocks read, so a new modality or label is a new name. Copies share the memory.
class Fields {
 public:
  explicit Fields(int64_t num_samples = 0) : num_samples_(num_samples) {}

  int64_t num_samples() const { return num_samples_; }
  /// `values` [num_samples, dims...]; replaces what had the name.
  void set(std::string_view name, Tensor values);
  bool contains(std::string_view name) const { return tensors_.contains(name); }
  /// Throws InternalError that names the field and those that are there.
  const Tensor& operator[](std::string_view name) const;
  /// `count` equal microbatches, in order, that share the memory.
  std::vector<Fields> cut(int count) const;

 private:
  int64_t num_samples_;
  std::map<std::string, Tensor, std::less<>> tensors_;
};

}  // namespace triptych::tensor
