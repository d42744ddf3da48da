#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/tensor_box.h"

namespace triptych::checkpoint {

/// The part that a piece and a box have in common, in the tensor's coordinates; `elements` is 0 if they share none.
struct Overlap {
  const ManifestPiece* piece = nullptr;
  std::vector<int64_t> begin;
  std::vector<int64_t> shape;
  int64_t elements = 0;
};

/// The pieces that share elements with the box [begin, begin + shape), in their given order.
std::vector<Overlap> overlaps_of(std::span<const ManifestPiece> pieces, std::span<const int64_t> begin,
                                 std::span<const int64_t> shape);

/// "" if the overlaps cover a box of that shape with no element left out or twice there, else the rule that is broken.
std::string check_exact_cover(std::span<const Overlap> overlaps, std::span<const int64_t> shape);

/// The same for the whole tensor.
std::string check_exact_cover(const ManifestTensor& tensor);

}  // namespace triptych::checkpoint
