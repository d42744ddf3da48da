#include "nn/adapter.h"

#include <string_view>

#include "base/name_pattern.h"
#include "kernels/elementwise.h"
#include "kernels/matmul.h"

namespace triptych::nn {
namespace {

constexpr std::string_view kA = ".adapter.a", kB = ".adapter.b";

}  // namespace

std::string adapter_a_name(const std::string& matrix) {
  return matrix + std::string(kA);
}

std::string adapter_b_name(const std::string& matrix) {
  return matrix + std::string(kB);
}

std::string matrix_of_adapter(const std::string& name) {
  for (const std::string_view part : {kA, kB}) {
    if (name.ends_with(part)) return name.substr(0, name.size() - part.size());
  }
  return "";
}

const AdapterOptions* adapter_of(const std::vector<AdapterOptions>& adapters, const std::string& matrix) {
  for (const AdapterOptions& one : adapters) {
    for (const std::string& pattern : one.match) {
      if (match_pattern(pattern, matrix)) return &one;
    }
  }
  return nullptr;
}

AdapterLayouts adapter_layouts(const Layout& matrix, int num_dims) {
  AdapterLayouts result;
  for (const Axis axis : kAxes) {
    const Placement placement = matrix[axis];
    if (!placement.is_shard()) continue;
    if (placement.dim == num_dims - 1) {
      result.a = result.a.with(axis, Placement::shard(1, placement.level));
    } else {
      result.b = result.b.with(axis, placement);
    }
  }
  return result;
}

std::string adapters_text(const std::vector<AdapterOptions>& adapters) {
  std::string text;
  for (const AdapterOptions& one : adapters) {
    for (const std::string& pattern : one.match) text += (text.empty() ? "" : " ") + pattern;
    text += fmt::format(" rank={} alpha={}", one.rank, one.alpha);
  }
  return text.empty() ? "" : fmt::format(" adapters({})", text);
}

void merge_adapter(Parameter& matrix) {
  const Adapter& adapter = matrix.adapter.value();
  const Tensor &a = adapter.a->value, &b = adapter.b->value;
  Stream& stream = matrix.value.device().stream();
  const Tensor scaled = Tensor::empty(matrix.value.device(), DType::kFloat32, b.shape());
  scale(stream, b.raw(), scaled.raw(), adapter.scale, b.num_elements(), DType::kFloat32);
  const int last = b.shape().rank() - 1;
  matmul(stream, {.m = b.shape().product(0, last),
                  .n = a.size(1),
                  .k = a.size(0),
                  .a = scaled.raw(),
                  .b = a.raw(),
                  .c = matrix.value.raw(),
                  .accumulate = true});
}

}  // namespace triptych::nn
