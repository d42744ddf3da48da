#pragma once

#include <cstdint>
#include <vector>

#include "autograd/parameter.h"
#include "parallel/layout.h"
#include "tensor/tensor.h"

namespace triptych::autograd {

/// Where the pieces of sharded parameters lie in memory that one collective over near ranks of dp moves: a row a rank,
/// in it the rank's piece of each parameter, one after the other, each at a multiple of 256 bytes. All of one type.
class PieceRows {
 public:
  /// Of a mesh on which `num_ranks` ranks of dp have a copy among them; the parameters are sharded over dp.
  PieceRows(std::vector<Parameter*> parameters, int num_ranks);

  const std::vector<Parameter*>& parameters() const { return parameters_; }
  /// Elements of a row.
  int64_t row_elements() const { return row_elements_; }
  /// Parameter i's piece of `rank` in the rank's row, a tensor [row_elements()].
  Tensor in_row(const Tensor& row, std::size_t i, int rank) const;
  /// The same piece in the tensor that operations read, or in its gradient.
  Tensor in_whole(const Tensor& whole, std::size_t i, int rank) const;
  /// All ranks' pieces of parameter i, from the tensor, contiguous, to `rows`, [ranks * row_elements()], and back: one
  /// kernel, a second one where the ranks do not divide the dim.
  void to_rows(const Tensor& whole, std::size_t i, const Tensor& rows) const;
  void from_rows(const Tensor& rows, std::size_t i, const Tensor& whole) const;

 private:
  Range range(std::size_t i, int rank) const;
  void copy_all(const Tensor& whole, std::size_t i, const Tensor& rows, bool is_to_rows) const;

  std::vector<Parameter*> parameters_;
  int num_ranks_;
  std::vector<int64_t> offsets_;
  int64_t row_elements_ = 0;
};

}  // namespace triptych::autograd
