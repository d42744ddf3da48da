#pragma once

#include <memory>
#include <string>
#include <vector>

#include "autograd/parameter.h"

namespace triptych {

/// How a parameter starts, and how it is treated.
struct ParameterSpec {
  float mean = 0;
  float standard_deviation = 0;  ///< 0: every element is `mean`
  Layout layout;                 ///< over `tp`
  /// The layout is Replicate on `tp`, but each rank sees only its part of the sequence: the gradient is Partial there.
  bool sees_sequence_shard = false;
  bool decay = false;
  bool in_compute_dtype = false;  ///< operations read it in the pass's dtype, else in float32
  float maximum = std::numeric_limits<float>::infinity();
  int summands_per_step = 0;  ///< see Parameter
};

/// The parameters that this rank holds, in the order in which the model made them. Initial values are a function of the
/// run's seed, the name and the global element: the same on any mesh.
class ParameterStore {
 public:
  ParameterStore(Device& device, Mesh& mesh, uint64_t seed, DType compute_dtype)
      : device_(&device), mesh_(&mesh), seed_(seed), compute_dtype_(compute_dtype) {}

  /// The reference stays valid for the store's life.
  Parameter& create(const std::string& name, const Shape& global_shape, const ParameterSpec& spec);

  std::vector<Parameter*> all() const;
  Mesh& mesh() const { return *mesh_; }
  /// Writes the compute copies from the masters, after these were changed.
  void refresh_compute_copies();

 private:
  Device* device_;
  Mesh* mesh_;
  uint64_t seed_;
  DType compute_dtype_;
  std::vector<std::unique_ptr<Parameter>> parameters_;
};

}  // namespace triptych
