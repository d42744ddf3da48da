#include "parallel/redistribute_plan.h"

#include <array>
#include <limits>
#include <string_view>
#include <utility>

namespace triptych::parallel {
namespace {

using Kind = RedistributeStep::Kind;

// In the order in which they are tried: ranks of tp are the closest.
constexpr std::array<Axis, 3> kInnerFirst{Axis::kTp, Axis::kCp, Axis::kDp};

Kind kind_of(const Placement& from, const Placement& to) {
  if (from.is_replicate()) return Kind::kSlice;
  if (from.is_partial()) return to.is_shard() ? Kind::kReduceScatter : Kind::kAllReduce;
  return to.is_shard() ? Kind::kAllToAll : Kind::kAllGather;
}

// Goes through all ways from a layout to the target: some hundreds at most, of which few are followed far.
class Search {
 public:
  Search(const Layout& to, const MeshShape& shape)
      : to_(to), shape_(shape), num_ranks_(int64_t{1} * shape.dp * shape.cp * shape.tp) {}

  void follow(const Layout& at, int64_t sent) {
    if (std::pair(sent, way_.size()) >= std::pair(least_sent_, best_.size())) return;
    if (at == to_) {
      least_sent_ = sent;
      best_ = way_;
      return;
    }
    for (const Axis axis : kInnerFirst) {
      if (is_done_[static_cast<std::size_t>(axis)] || to_[axis].is_partial()) continue;
      take(at, axis, to_[axis], sent);
      if (!to_[axis].is_replicate()) take(at, axis, Placement::replicate(), sent);
    }
  }

  std::vector<RedistributeStep> best() && { return std::move(best_); }

 private:
  static int num_others_on(const Layout& at, Axis axis, int dim) {
    int result = 0;
    for (const Axis other : kAxes) {
      if (other != axis && at[other].is_shard(dim)) ++result;
    }
    return result;
  }

  void take(const Layout& at, Axis axis, const Placement& to, int64_t sent) {
    const Placement& from = at[axis];
    if (from == to) return;
    if (from.is_shard() && num_others_on(at, axis, from.dim) != from.level) return;
    if (to.is_shard() && num_others_on(at, axis, to.dim) != to.level) return;
    const RedistributeStep step{kind_of(from, to), axis, from, to};
    way_.push_back(step);
    bool& is_done = is_done_[static_cast<std::size_t>(axis)];
    is_done = to == to_[axis];
    follow(at.with(axis, to), sent + sent_by(step, at));
    is_done = false;
    way_.pop_back();
  }

  // What a rank sends, round a ring, in elements of a tensor of num_ranks_^2: a number that every step divides.
  int64_t sent_by(const RedistributeStep& step, const Layout& at) const {
    int64_t held = num_ranks_ * num_ranks_;
    for (const Axis axis : kAxes) {
      if (at[axis].is_shard()) held /= shape_.size(axis);
    }
    const int64_t size = shape_.size(step.axis);
    switch (step.kind) {
      case Kind::kSlice:
        return 0;
      case Kind::kReduceScatter:
      case Kind::kAllToAll:
        return held / size * (size - 1);
      case Kind::kAllReduce:
        return 2 * (held / size * (size - 1));
      case Kind::kAllGather:
        return held * (size - 1);
    }
    return 0;
  }

  const Layout& to_;
  const MeshShape& shape_;
  int64_t num_ranks_;
  std::array<bool, 3> is_done_{};  // axes that have changed to their target: they change no more
  std::vector<RedistributeStep> way_, best_;
  int64_t least_sent_ = std::numeric_limits<int64_t>::max();
};

void check_none_is_near(const Layout& layout) {
  if (!layout[Axis::kDp].is_near) return;
  throw LayoutError("dp",
                    fmt::format("{} is a way to keep a parameter. Gather it with ShardedWeights", layout.to_string()));
}

void check_partials(const Layout& from, const Layout& to) {
  for (const Axis axis : kInnerFirst) {
    if (!to[axis].is_partial() || from[axis] == to[axis]) continue;
    throw LayoutError(axis_name(axis), fmt::format("{} cannot become {}. A Partial can only be completed",
                                                   from[axis].to_string(), to[axis].to_string()));
  }
  for (const Axis axis : from.partial_axes()) {
    for (const Axis other : from.partial_axes()) {
      if (from[axis].reduce == from[other].reduce) continue;
      throw LayoutError(axis_name(axis), fmt::format("a sum on one axis and a maximum on another have no order: {}. "
                                                     "Complete the sum before taking the maximum",
                                                     from.to_string()));
    }
  }
}

}  // namespace

std::string RedistributeStep::to_string() const {
  constexpr std::array<std::string_view, 5> kNames{"slice", "reduce_scatter", "all_to_all", "all_reduce", "all_gather"};
  return fmt::format("{}({}: {} -> {})", kNames[static_cast<std::size_t>(kind)], axis_name(axis), from.to_string(),
                     to.to_string());
}

std::vector<RedistributeStep> plan_redistribute(const Layout& from, const Layout& to, const MeshShape& shape) {
  check_levels(from);
  check_levels(to);
  const Layout start = on_mesh(from, shape), target = on_mesh(to, shape);
  if (start == target) return {};
  check_none_is_near(start);
  check_none_is_near(target);
  check_partials(start, target);
  Search search(target, shape);
  search.follow(start, 0);
  return std::move(search).best();
}

}  // namespace triptych::parallel
