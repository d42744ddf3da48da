#include "nn/parameter_store.h"

#include <algorithm>
#include <cmath>
#include <iterator>
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
  if (local.num_elements() == 0) return;
  // Rows of the flattened [outer, inner] view, of the last dim that is sharded. Where a dim before it is sharded too,
  // the rows of one index of the dims up to that are neighbours.
  int dim = 0, before = -1;
  for (int i = 0; i < local.rank(); ++i) {
    if (local[i] != global[i]) dim = i;
  }
  for (int i = 0; i < dim; ++i) {
    if (local[i] != global[i]) before = i;
  }
  const int64_t inner = global.product(dim + 1, global.rank()), stride = global[dim] * inner;
  const int64_t num_rows = local.product(before + 1, dim), num_cols = local[dim] * inner;
  for (int64_t outer = 0; outer < local.product(0, before + 1); ++outer) {
    int64_t first = 0, left = outer, size = global.product(before + 1, dim);  // row of the whole tensor
    for (int i = before; i >= 0; --i) {
      first += (begin[i] + left % local[i]) * size;
      left /= local[i];
      size *= global[i];
    }
    fill_normal(device.stream(), {.out = parameter.value.data<float>() + outer * num_rows * num_cols,
                                  .rows = num_rows,
                                  .cols = num_cols,
                                  .begin = first * stride + begin[dim] * inner,
                                  .row_stride = stride,
                                  .key = random_key(seed, "init/" + parameter.name, 0),
                                  .mean = spec.mean,
                                  .std = spec.standard_deviation});
  }
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
  parameter->lay_out(layout);
  if (shards_state_) {
    parameter->kept = on_mesh(split_further(layout, global_shape, Axis::kDp, mesh_->shape()), *mesh_);
  }
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
  const Shape piece = local_shape(parameter.global_shape, parameter.kept, *mesh_, &begin);
  parameter.value = Tensor::empty(*device_, DType::kFloat32, piece, MemoryPart::kParameters);
  ParameterSpec values = spec;
  if (values_ == InitialValues::kAllDifferent && values.standard_deviation == 0)
    values.standard_deviation = kDifference;
  initialize(*device_, parameter, values, begin, seed_);
  const DType dtype = spec.in_compute_dtype ? compute_dtype_ : DType::kFloat32;
  if (parameter.is_sharded()) {
    const Shape local = local_shape(parameter.global_shape, parameter.layout, *mesh_);
    parameter.compute = Tensor::without_memory(*device_, dtype, local);
  } else if (dtype == DType::kFloat32) {
    parameter.compute = parameter.value;
  } else {
    parameter.compute = Tensor::empty(*device_, dtype, piece, MemoryPart::kComputeCopies);
    cast(device_->stream(), parameter.value.raw(), DType::kFloat32, parameter.compute.raw(), dtype,
         parameter.value.num_elements());
  }
}

void ParameterStore::gather_in(std::span<const std::vector<Parameter*>> units, bool is_freed) {
  if (!shards_state_) return;
  std::set<const Parameter*> known;
  std::vector<std::vector<Parameter*>> once;
  for (const std::vector<Parameter*>& unit : units) {
    std::vector<Parameter*> fresh;
    std::ranges::copy_if(unit, std::back_inserter(fresh),
                         [&](const Parameter* one) { return known.insert(one).second; });
    if (!fresh.empty()) once.push_back(std::move(fresh));
  }
  sharded_weights_ = std::make_unique<ShardedWeights>(*device_, *mesh_, once, is_freed);
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
  if (sharded_weights_) sharded_weights_->values_changed();
  for (const auto& parameter : parameters_) {
    if (parameter->is_sharded() || parameter->compute.dtype() == DType::kFloat32) continue;
    cast(device_->stream(), parameter->value.raw(), DType::kFloat32, parameter->compute.raw(),
         parameter->compute.dtype(), parameter->value.num_elements());
  }
}

}  // namespace triptych::nn
