#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>

#include "autograd/gradient_sum.h"

namespace triptych::autograd {

struct Parameter;

/// What stands beside a matrix W [O..., I] and is trained in its place: x W^T becomes x W^T + scale (x A^T) B^T.
struct Adapter {
  Parameter* a = nullptr;  ///< [rank, I]
  Parameter* b = nullptr;  ///< [O..., rank]
  float scale = 1;
};

/// Where a sequence's tokens stand: in a line, or, patches of an image, in a square grid, row by row, with `first`
/// tokens in front that have no place in it.
struct PositionGrid {
  int64_t sequence = 0;  ///< S, all tokens
  int64_t side = 0;      ///< patches a side; 0: a line
  int64_t first() const { return side > 0 ? sequence - side * side : 0; }
};

/// A tensor that can be trained: this rank's piece of it. Owned by the model's ParameterStore; variables refer to it.
struct Parameter {
  explicit Parameter(std::string parameter_name = {}) : name(std::move(parameter_name)), gradient(name) {}

  std::string name;  ///< global and stable: "image.blocks.3.attention.qkv.weight"
  Shape global_shape;
  Layout layout;  ///< as operations read it; never Partial
  Layout kept;    ///< of the value and of what the optimizer keeps: `layout`, or that split further over dp or its near
                  ///< ranks
  bool decay = false;      ///< whether weight decay applies
  bool is_trained = true;  ///< false: frozen. Its variables are constants then, and nothing is kept of a gradient
  float maximum = std::numeric_limits<float>::infinity();  ///< the optimizer keeps every element at or below
  bool is_tied = false;       ///< blocks share it, maybe blocks of several stages, each of which then has a copy
  bool is_first_copy = true;  ///< false for the copies of a tied parameter on all stages but the first that has it:
                              ///< norms, counts and checkpoints take it once
  std::optional<Adapter> adapter;
  std::optional<PositionGrid> grid;  ///< of learned positions of an image

  Tensor value;          ///< float32 master, laid out as `kept`
  Tensor compute;        ///< what operations read: `value` itself, its copy in 16 bits, or what ShardedWeights gathers
  GradientSum gradient;  ///< laid out as backward leaves it, Partial where ranks hold summands, until it is reduced
  Tensor reduced;        ///< the complete gradient that a Reducer leaves: float32, laid out as `kept`

  /// Whether ranks of dp keep a piece each of what operations read whole.
  bool is_sharded() const { return !(kept == layout); }
  /// Sets both layouts.
  void lay_out(const Layout& everywhere) { layout = kept = everywhere; }
};

}  // namespace triptych::autograd
