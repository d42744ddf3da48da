#include "nn/parameter_store.h"

#include <cmath>
#include <utility>

#include "base/philox.h"
#include "kernels/elementwise.h"
#include "kernels/random.h"

namespace triptych::nn {
namespace {

constexpr float kDifference = 0.1f;  // of elements that begin alike, where they are not to

// Fills a piece, box by box over its last dim that is not whole: there the global elements of a run are neighbours.
void initialize(Device& device, const Parameter& parameter, const ParameterSpec& spec, const Shape& begin,
                uint64_t seed) {
  if (spec.standard_deviation == 0) {
    fill(device.stream(), parameter.value.raw(), spec.mean, parameter.value.num_elements(), DType::kFloat32);
    return;
  }
  const Shape& local = parameter.value.shape();
  const Shape& global = parameter.global_shape;
  // Rows of the flattened [outer, inner] view; only one dim of a parameter is sharded.
  int dim = 0;
  for (int i = 0; i < local.rank(); ++i) {
    if (local[i] != global[i]) dim = i;
  }
  const int64_t inner = global.product(dim + 1, global.rank());
  fill_normal(device.stream(), {.out = parameter.value.data<float>(),
                                .rows = local.product(0, dim),
                                .cols = local[dim] * inner,
                                .begin = begin[dim] * inner,
                                .row_stride = global[dim] * inner,
                                .key = random_key(seed, "init/" + parameter.name, 0),
                                .mean = spec.mean,
                                .std = spec.standard_deviation});
}

}  // namespace

ParameterSpec linear_matrix(int64_t inputs, float scale) {
  return {.standard_deviation = scale / std::sqrt(static_cast<float>(inputs)),
          .decay = true,
          .in_compute_dtype = true,
          .is_linear = true};
}

Parameter& ParameterStore::create(const std::string& name, const Shape& global_shape, std::string_view place,
                                  const ParameterSpec& spec) {
  for (const auto& other : parameters_) {
    if (other->name != name) continue;
    TRIPTYCH_CHECK(spec.is_tied && other->is_tied && other->global_shape == global_shape,
                   "two parameters are called {}: {} and {}", name, other->global_shape.to_string(),
                   global_shape.to_string());
    given_.push_back(other.get());
    return *other;
  }
  Parameter& made = make(name, global_shape, on_mesh((*plan_)(place), *mesh_), spec);
  if (const AdapterOptions* options = spec.is_linear ? adapter_of(adapters_, name) : nullptr) adapt(made, *options);
  return made;
}

void ParameterStore::adapt(Parameter& matrix, const AdapterOptions& options) {
  const Shape& shape = matrix.global_shape;
  const int last = shape.rank() - 1;
  const AdapterLayouts layouts = adapter_layouts(matrix.layout, shape.rank());
  Parameter& a =
      make(adapter_a_name(matrix.name), Shape{options.rank, shape[last]}, layouts.a, linear_matrix(shape[last]));
  Parameter& b =
      make(adapter_b_name(matrix.name), shape.with(last, options.rank), layouts.b, linear_matrix(options.rank, 0));
  matrix.adapter = Adapter{.a = &a, .b = &b, .scale = options.scale()};
}

Parameter& ParameterStore::make(const std::string& name, const Shape& global_shape, const Layout& layout,
                                const ParameterSpec& spec) {
  auto parameter = std::make_unique<Parameter>(name);
  parameter->global_shape = global_shape;
  parameter->layout = layout;
  parameter->decay = spec.decay;
  parameter->maximum = spec.maximum;
  parameter->is_tied = spec.is_tied;
  parameter->grid = spec.grid;
  if (values_ != InitialValues::kNone) take_memory(*parameter, spec);
  parameters_.push_back(std::move(parameter));
  given_.push_back(parameters_.back().get());
  if (spec.is_linear) linear_.insert(given_.back());
  return *given_.back();
}

void ParameterStore::take_memory(Parameter& parameter, const ParameterSpec& spec) {
  Shape begin;
  const Shape local = local_shape(parameter.global_shape, parameter.layout, *mesh_, &begin);
  parameter.value = Tensor::empty(*device_, DType::kFloat32, local, MemoryPart::kParameters);
  ParameterSpec values = spec;
  if (values_ == InitialValues::kAllDifferent && values.standard_deviation == 0)
    values.standard_deviation = kDifference;
  initialize(*device_, parameter, values, begin, seed_);
  parameter.compute = parameter.value;
  if (spec.in_compute_dtype && compute_dtype_ != DType::kFloat32) {
    parameter.compute = Tensor::empty(*device_, compute_dtype_, local, MemoryPart::kComputeCopies);
    cast(device_->stream(), parameter.value.raw(), DType::kFloat32, parameter.compute.raw(), compute_dtype_,
         parameter.value.num_elements());
  }
}

std::vector<Parameter*> ParameterStore::all() const {
  std::vector<Parameter*> result;
  for (const auto& parameter : parameters_) result.push_back(parameter.get());
  return result;
}

std::vector<Parameter*> ParameterStore::named(std::string_view prefix) const {
  std::vector<Parameter*> result = all();
  std::erase_if(result, [&](const Parameter* parameter) { return !parameter->name.starts_with(prefix); });
  return result;
}

std::vector<Parameter*> ParameterStore::take_given() {
  return std::exchange(given_, {});
}

void ParameterStore::refresh_compute_copies() {
  for (const auto& parameter : parameters_) {
    if (parameter->compute.dtype() == DType::kFloat32) continue;
    cast(device_->stream(), parameter->value.raw(), DType::kFloat32, parameter->compute.raw(),
         parameter->compute.dtype(), parameter->value.num_elements());
  }
}

}  // namespace triptych::nn
