#include "autograd/piece_rows.h"

#include <utility>

#include "base/checked.h"
#include "kernels/strided.h"

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

void PieceRows::to_rows(const Tensor& whole, std::size_t i, const Tensor& rows) const {
  copy_all(whole, i, rows, true);
}

void PieceRows::from_rows(const Tensor& rows, std::size_t i, const Tensor& whole) const {
  copy_all(whole, i, rows, false);
}

// First the ranks with full pieces, then the one that may have the rest of the dim.
void PieceRows::copy_all(const Tensor& whole, std::size_t i, const Tensor& rows, bool is_to_rows) const {
  TRIPTYCH_CHECK(whole.is_contiguous(), "pieces of a strided tensor");
  const int dim = dim_of(*parameters_[i]);
  const Shape& shape = whole.shape();
  const int64_t outer = shape.product(0, dim), inner = shape.product(dim + 1, shape.rank());
  const int64_t piece = range(i, 0).length, total = shape[dim];
  const auto element_bytes = static_cast<int64_t>(dtype_bytes(whole.dtype()));
  const auto copy = [&](int64_t first_rank, int64_t num_ranks, int64_t length) {
    const int64_t dims[] = {num_ranks, outer, length * inner};
    const int64_t in_whole[] = {piece * inner, total * inner, 1}, in_rows[] = {row_elements_, length * inner, 1};
    auto* const at_whole = static_cast<std::byte*>(whole.raw()) + first_rank * piece * inner * element_bytes;
    auto* const at_rows =
        static_cast<std::byte*>(rows.raw()) + (first_rank * row_elements_ + offsets_[i]) * element_bytes;
    copy_strided(whole.device().stream(), {.src = is_to_rows ? at_whole : at_rows,
                                           .dst = is_to_rows ? at_rows : at_whole,
                                           .dims = dims,
                                           .src_strides = is_to_rows ? in_whole : in_rows,
                                           .dst_strides = is_to_rows ? in_rows : in_whole,
                                           .element_bytes = element_bytes});
  };
  if (whole.num_elements() == 0) return;
  const int64_t num_full = total / piece, rest = total % piece;
  copy(0, num_full, piece);
  if (rest > 0) copy(num_full, 1, rest);
}

Tensor PieceRows::in_whole(const Tensor& whole, std::size_t i, int rank) const {
  const Range piece = range(i, rank);
  return whole.slice(dim_of(*parameters_[i]), piece.begin, piece.length);
}

}  // namespace triptych::autograd
