#include "checkpoint/coverage.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace triptych::checkpoint {
namespace {

bool share_elements(const Overlap& a, const Overlap& b) {
  for (std::size_t d = 0; d < a.begin.size(); ++d) {
    if (a.begin[d] >= b.begin[d] + b.shape[d] || b.begin[d] >= a.begin[d] + a.shape[d]) return false;
  }
  return true;
}

}  // namespace

std::vector<Overlap> overlaps_of(std::span<const ManifestPiece> pieces, std::span<const int64_t> begin,
                                 std::span<const int64_t> shape) {
  std::vector<Overlap> overlaps;
  for (const ManifestPiece& piece : pieces) {
    Overlap overlap{&piece, {}, {}, 1};
    for (std::size_t d = 0; d < shape.size(); ++d) {
      const int64_t low = std::max(begin[d], piece.begin[d]);
      const int64_t high = std::min(begin[d] + shape[d], piece.begin[d] + piece.shape[d]);
      overlap.begin.push_back(low);
      overlap.shape.push_back(std::max<int64_t>(0, high - low));
      overlap.elements *= overlap.shape.back();
    }
    if (overlap.elements > 0) overlaps.push_back(std::move(overlap));
  }
  return overlaps;
}

std::string check_exact_cover(std::span<const Overlap> overlaps, std::span<const int64_t> shape) {
  for (std::size_t i = 0; i < overlaps.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (share_elements(overlaps[i], overlaps[j])) {
        return fmt::format("pieces must not overlap, found {} at {} and {} at {}",
                           format_shape(overlaps[j].piece->shape), format_shape(overlaps[j].piece->begin),
                           format_shape(overlaps[i].piece->shape), format_shape(overlaps[i].piece->begin));
      }
    }
  }
  int64_t covered = 0;  // disjoint parts of one box: the sum cannot overflow
  for (const Overlap& overlap : overlaps) covered += overlap.elements;
  if (covered == volume(shape)) return "";
  return fmt::format("pieces must cover every element, found {} of {}", covered, volume(shape));
}

std::string check_exact_cover(const ManifestTensor& tensor) {
  const std::vector<int64_t> zeros(tensor.shape.size(), 0);
  return check_exact_cover(overlaps_of(tensor.pieces, zeros, tensor.shape), tensor.shape);
}

}  // namespace triptych::checkpoint
