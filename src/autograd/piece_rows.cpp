#include "autograd/piece_rows.h"

#include <utility>

#include "base/checked.h"

namespace triptych::autograd {
namespace {

// Of four bytes or fewer each: 256 bytes, where a tensor that was allocated by itself begins.
constexpr int64_t kAlignedElements = 128;

int dim_of(const Parameter& parameter) {
  return parameter.kept[Axis::kDp].dim;
}

}  // namespace

PieceRows::PieceRows(std::vector<Parameter*> parameters, int num_ranks)
    : parameters_(std::move(parameters)), num_ranks_(num_ranks) {
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    TRIPTYCH_CHECK(parameters_[i]->kept[Axis::kDp].is_shard(), "{} is not sharded over dp", parameters_[i]->name);
    offsets_.push_back(row_elements_);
    const Shape first = parameters_[i]->compute.shape().with(dim_of(*parameters_[i]), range(i, 0).length);
    row_elements_ += round_up(first.num_elements(), kAlignedElements);
  }
}

Range PieceRows::range(std::size_t i, int rank) const {
  return shard_range(parameters_[i]->compute.size(dim_of(*parameters_[i])), num_ranks_, rank);
}

Tensor PieceRows::in_row(const Tensor& row, std::size_t i, int rank) const {
  const Shape piece = parameters_[i]->compute.shape().with(dim_of(*parameters_[i]), range(i, rank).length);
  return row.slice(0, offsets_[i], piece.num_elements()).view(piece);
}

Tensor PieceRows::in_whole(const Tensor& whole, std::size_t i, int rank) const {
  const Range piece = range(i, rank);
  return whole.slice(dim_of(*parameters_[i]), piece.begin, piece.length);
}

}  // namespace triptych::autograd
