#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"

namespace triptych::checkpoint {

/// A rectangular part of a named global tensor: elements begin[d] <= i[d] < begin[d] + shape[d] of `global_shape`.
/// A tensor of no dimensions is a scalar of one element.
struct TensorBox {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> global_shape;
  std::vector<int64_t> begin;
  std::vector<int64_t> shape;
};

/// A box that a rank writes. `data` is its elements, contiguous and row-major, valid while the writer runs.
struct TensorPiece : TensorBox {
  const std::byte* data = nullptr;
};

/// The box that is the whole tensor.
TensorBox whole_tensor(std::string name, DType dtype, std::vector<int64_t> shape);

/// Product of the sizes; 1 for a scalar. Throws WorldError naming `where` if one is negative or the product overflows.
int64_t checked_volume(std::span<const int64_t> shape, std::string_view where);

/// Product of sizes that are known to be sound.
int64_t volume(std::span<const int64_t> shape);

/// "[3, 4]".
std::string format_shape(std::span<const int64_t> shape);

/// The box's place is inside of its tensor: equal number of dims, 0 <= begin, begin + shape <= global_shape.
bool is_inside(const TensorBox& box);

}  // namespace triptych::checkpoint
