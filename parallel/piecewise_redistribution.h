#pragma once

#include <cstdint>
#include <vector>

#include "parallel/redistribute.h"
#include "tensor/tensor.h"

namespace triptych::parallel {

/// redistribute() a range of the first dim at a time, each on its way by itself: so that who makes a tensor sends what
/// he has of it while he makes the rest, and who reads one begins with what has come.
///
/// The same for one tensor; made anew for the next. Collective as redistribute(), once for each piece, in their order.
class PiecewiseRedistribution {
 public:
  /// A tensor whose first dim changes its own placement goes in one piece, and so does what nobody has to move.
  ///   num_pieces   as many as there shall be, if the first dim has so many indices here
  PiecewiseRedistribution(const Shape& global_shape, const Layout& from, const Layout& to, Mesh& mesh,
                          int64_t num_pieces);
  /// Waits for what is on its way.
  ~PiecewiseRedistribution();
  PiecewiseRedistribution(const PiecewiseRedistribution&) = delete;
  PiecewiseRedistribution& operator=(const PiecewiseRedistribution&) = delete;

  /// Whether the layouts differ.
  bool moves() const { return moves_; }
  int size() const { return static_cast<int>(ranges_.size()); }
  /// Indices of the first dim as this rank has it, before and after.
  Range range(int piece) const { return ranges_[static_cast<std::size_t>(piece)]; }

  /// Sends a piece on its way, and the second part of the one before after its first.
  ///   local   of the piece alone; it may be the piece of `whole`, where the shapes are one
  ///   whole   this rank's piece of the whole tensor under `to`, which must outlive the way
  void start(int piece, const Tensor& local, const Tensor& whole);
  /// Returns when the piece of `whole` is there.
  void finish(int piece);
  /// The same of all pieces.
  void finish();

 private:
  void go_on(int piece);

  Shape global_shape_;  // of a piece; its first dim is that of the ranks that have it
  Layout from_, to_;
  Mesh* mesh_;
  bool moves_;
  std::vector<Range> ranges_;
  std::vector<OnItsWay> on_their_way_;  // by piece; empty before it starts and after it has come
};

}  // namespace triptych::parallel
