#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "base/philox.h"
#include "parallel/layout.h"

namespace triptych::test {

/// True if the axes that split each dim have the levels 0, 1, ..., each once.
inline bool has_valid_levels(const Layout& layout) {
  for (int dim = 0; dim < Shape::kMaxRank; ++dim) {
    std::vector<int> levels;
    for (const Axis axis : kAxes) {
      if (layout[axis].is_shard(dim)) levels.push_back(layout[axis].level);
    }
    std::sort(levels.begin(), levels.end());
    for (std::size_t i = 0; i < levels.size(); ++i) {
      if (levels[i] != static_cast<int>(i)) return false;
    }
  }
  return true;
}

/// Every layout of a tensor with `num_dims` dims over `axes`: with several axes on one dim in all orders, and with the
/// given kinds of Partial.
inline std::vector<Layout> all_layouts(AxisSet axes, int num_dims, const std::vector<ReduceOp>& partials) {
  std::vector<Placement> placements{Placement::replicate()};
  for (const ReduceOp reduce : partials) placements.push_back(Placement::partial(reduce));
  for (int dim = 0; dim < num_dims; ++dim) {
    for (int level = 0; level < 3; ++level) placements.push_back(Placement::shard(dim, level));
  }
  std::vector<Layout> layouts{Layout()};
  for (const Axis axis : axes) {
    std::vector<Layout> longer;
    for (const Layout& layout : layouts) {
      for (const Placement& placement : placements) longer.push_back(layout.with(axis, placement));
    }
    layouts = longer;
  }
  std::erase_if(layouts, [](const Layout& layout) { return !has_valid_levels(layout); });
  return layouts;
}

/// The indices of a dim of `total` that a rank holds, by the definition: the indices in order, split by one axis after
/// the other into runs of equal length, of which the last ones may be shorter or empty.
inline std::vector<int64_t> held_indices(int64_t total, int dim, const Layout& layout, const MeshShape& shape,
                                         const MeshCoordinate& at) {
  std::vector<int64_t> indices;
  for (int64_t i = 0; i < total; ++i) indices.push_back(i);
  for (int level = 0; level < 3; ++level) {
    for (const Axis axis : kAxes) {
      if (!layout[axis].is_shard(dim) || layout[axis].level != level) continue;
      const int64_t ranks = shape.size(axis), run = (static_cast<int64_t>(indices.size()) + ranks - 1) / ranks;
      std::vector<int64_t> mine;
      for (std::size_t i = 0; i < indices.size(); ++i) {
        if (static_cast<int64_t>(i) / run == at.rank(axis)) mine.push_back(indices[i]);
      }
      indices = mine;
    }
  }
  return indices;
}

/// A tensor that every rank can compute any element of, whoever holds it.
class GlobalTensor {
 public:
  /// seed   of its numbers: integers from -100 to 100, or summands of them, so that sums of them are exact
  GlobalTensor(const Shape& shape, uint64_t seed) : shape_(shape), seed_(seed) {}

  const Shape& shape() const { return shape_; }

  /// What the rank at `at` holds under `layout`. Where `layout` is Partial on an axis it holds a summand, or something
  /// that is at most the maximum; `from` says which axes the tensor was Partial on at first, and so how it was divided:
  /// a summand over some of those axes is the sum over the others.
  template <typename T>
  std::vector<T> piece(const Layout& layout, const Layout& from, const MeshShape& shape,
                       const MeshCoordinate& at) const {
    std::array<std::vector<int64_t>, Shape::kMaxRank> held;
    int64_t count = 1;
    for (int dim = 0; dim < shape_.rank(); ++dim) {
      auto& indices = held[static_cast<std::size_t>(dim)];
      indices = held_indices(shape_[dim], dim, layout, shape, at);
      count *= static_cast<int64_t>(indices.size());
    }
    std::vector<T> values;
    for (int64_t i = 0; i < count; ++i) {
      int64_t element = 0, left = i, stride = 1;
      for (int dim = shape_.rank() - 1; dim >= 0; --dim) {
        const auto& indices = held[static_cast<std::size_t>(dim)];
        const int64_t size = static_cast<int64_t>(indices.size());
        element += stride * indices[static_cast<std::size_t>(left % size)];
        left /= size;
        stride *= shape_[dim];
      }
      values.push_back(static_cast<T>(value(element, layout, from, shape, at)));
    }
    return values;
  }

 private:
  int64_t random(int64_t element, int64_t divided_rank) const {
    const uint32_t word = philox_word(random_key(seed_, "global tensor", static_cast<uint64_t>(divided_rank)),
                                      static_cast<uint64_t>(element));
    return static_cast<int64_t>(word % 201) - 100;
  }

  int64_t value(int64_t element, const Layout& layout, const Layout& from, const MeshShape& shape,
                const MeshCoordinate& at) const {
    ReduceOp reduce = ReduceOp::kSum;
    std::vector<int64_t> ranks{0};  // of those among which it was divided: the ones that this rank's value is made of
    for (const Axis axis : kAxes) {
      if (!from[axis].is_partial()) continue;
      reduce = from[axis].reduce;
      std::vector<int64_t> longer;
      for (const int64_t rank : ranks) {
        for (int r = 0; r < shape.size(axis); ++r) {
          if (!layout[axis].is_partial() || r == at.rank(axis)) longer.push_back(rank * shape.size(axis) + r);
        }
      }
      ranks = longer;
    }
    int64_t result = random(element, ranks[0]);
    for (std::size_t i = 1; i < ranks.size(); ++i) {
      const int64_t next = random(element, ranks[i]);
      result = reduce == ReduceOp::kSum ? result + next : std::max(result, next);
    }
    return result;
  }

  Shape shape_;
  uint64_t seed_;
};

}  // namespace triptych::test
