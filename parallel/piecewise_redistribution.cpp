#include "parallel/piecewise_redistribution.h"

#include <algorithm>
#include <utility>

#include "parallel/redistribute.h"
#include "parallel/redistribute_plan.h"

namespace triptych::parallel {
namespace {

bool splits_first_dim(const Placement& placement) {
  return placement.is_shard(0);
}

// Whether each rank has the same indices of the first dim before and after.
bool keeps_first_dim(const Layout& from, const Layout& to) {
  return std::ranges::all_of(kAxes, [&](Axis axis) {
    return from[axis] == to[axis] || !(splits_first_dim(from[axis]) || splits_first_dim(to[axis]));
  });
}

// The layout of what this rank has of the first dim.
Layout within_first_dim(Layout layout) {
  for (const Axis axis : kAxes) {
    if (splits_first_dim(layout[axis])) layout = layout.with(axis, Placement::replicate());
  }
  return layout;
}

}  // namespace

PiecewiseRedistribution::PiecewiseRedistribution(const Shape& global_shape, const Layout& from, const Layout& to,
                                                 Mesh& mesh, int64_t num_pieces)
    : global_shape_(global_shape), from_(on_mesh(from, mesh)), to_(on_mesh(to, mesh)), mesh_(&mesh) {
  moves_ = !plan_redistribute(from_, to_, mesh.shape()).empty();
  const int64_t rows = local_shape(global_shape, from_, mesh)[0];
  if (!moves_ || !keeps_first_dim(from_, to_)) {
    ranges_ = {{0, rows}};
  } else {
    const int num_ranges = static_cast<int>(std::clamp<int64_t>(num_pieces, 1, std::max<int64_t>(1, rows)));
    for (int i = 0; i < num_ranges; ++i) {
      const Range range = shard_range(rows, num_ranges, i);
      if (range.length > 0 || i == 0) ranges_.push_back(range);
    }
    from_ = within_first_dim(from_);
    to_ = within_first_dim(to_);
    global_shape_ = global_shape.with(0, rows);
  }
  on_their_way_.resize(ranges_.size());
}

PiecewiseRedistribution::~PiecewiseRedistribution() {
  try {
    finish();
  } catch (const Error&) {  // nobody reads the result; whoever reads the next one meets the same failure
  }
}

void PiecewiseRedistribution::start(int piece, const Tensor& local, const Tensor& whole) {
  if (piece > 0) go_on(piece - 1);
  const Range of = range(piece);
  const bool is_all = size() == 1;
  on_their_way_[static_cast<std::size_t>(piece)] =
      redistribute_into(local, is_all ? global_shape_ : global_shape_.with(0, of.length), from_, to_, *mesh_,
                        is_all ? whole : whole.slice(0, of.begin, of.length));
  mesh_->progress();
}

void PiecewiseRedistribution::go_on(int piece) {
  const auto next = std::exchange(on_their_way_[static_cast<std::size_t>(piece)].go_on, {});
  if (next) next();
}

void PiecewiseRedistribution::finish(int piece) {
  go_on(piece);
  const auto complete = std::exchange(on_their_way_[static_cast<std::size_t>(piece)].complete, {});
  if (complete) complete();
}

void PiecewiseRedistribution::finish() {
  for (int piece = 0; piece < size(); ++piece) finish(piece);
}

}  // namespace triptych::parallel
