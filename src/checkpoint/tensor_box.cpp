#include "checkpoint/tensor_box.h"

#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace triptych::checkpoint {

TensorBox whole_tensor(std::string name, DType dtype, std::vector<int64_t> shape) {
  std::vector<int64_t> begin(shape.size(), 0);
  return {std::move(name), dtype, shape, std::move(begin), shape};
}

int64_t checked_volume(std::span<const int64_t> shape, std::string_view where) {
  int64_t product = 1;
  for (const int64_t size : shape) {
    if (size < 0) throw WorldError(where, fmt::format("sizes must not be negative, found {}", format_shape(shape)));
    product = checked_mul(product, size, where);
  }
  return product;
}

int64_t volume(std::span<const int64_t> shape) {
  int64_t product = 1;
  for (const int64_t size : shape) product *= size;
  return product;
}

std::string format_shape(std::span<const int64_t> shape) {
  std::string text = "[";
  for (std::size_t d = 0; d < shape.size(); ++d) text += fmt::format("{}{}", d == 0 ? "" : ", ", shape[d]);
  return text + "]";
}

bool is_inside(const TensorBox& box) {
  const std::size_t num_dims = box.global_shape.size();
  if (box.begin.size() != num_dims || box.shape.size() != num_dims) return false;
  for (std::size_t d = 0; d < num_dims; ++d) {
    if (box.begin[d] < 0 || box.shape[d] < 0 || box.begin[d] > box.global_shape[d]) return false;
    if (box.shape[d] > box.global_shape[d] - box.begin[d]) return false;
  }
  return true;
}

}  // namespace triptych::checkpoint
