#include "parallel/mesh.h"

#include <algorithm>
#include <utility>

#include "base/error.h"
#include "parallel/device_group.h"

namespace triptych::parallel {
namespace {

constexpr int kMaxAxisSize = 32767;  // so that a product of four fits into 64 bits

// Axes slowest first, each with its key in the configuration.
std::array<std::pair<std::string_view, int>, 4> named_sizes(const MeshShape& shape) {
  return {{{"pp", shape.pp}, {"dp", shape.dp}, {"cp", shape.cp}, {"tp", shape.tp}}};
}

// The remedy that changes one axis, or nothing if no single axis can make the product fit.
std::string one_axis_remedy(const MeshShape& shape, int num_ranks) {
  const auto axes = named_sizes(shape);
  for (std::size_t changed = 0; changed < axes.size(); ++changed) {
    if (axes[changed].first == "cp" && shape.cp == 1) continue;
    int64_t others = 1;
    for (std::size_t i = 0; i < axes.size(); ++i) others *= i == changed ? 1 : axes[i].second;
    if (num_ranks % others == 0) {
      return fmt::format("Set parallel.{} = {} or s", axes[changed].first, num_ranks / others);
    }
  }
  return "S";
}

}  // namespace

void check_mesh_shape(const MeshShape& shape, int num_ranks) {
  int64_t product = 1;
  std::string names, values;
  for (const auto& [name, size] : named_sizes(shape)) {
    if (size < 1 || size > kMaxAxisSize) {
      throw UserError("mesh", fmt::format("parallel.{0} must be between 1 and {1}, found {2}. Set parallel.{0} = 1",
                                          name, kMaxAxisSize, size));
    }
    product *= size;
    if (name == "cp" && size == 1) continue;
    names += fmt::format("{}{}", names.empty() ? "" : "*", name);
    values += fmt::format("{}{}", values.empty() ? "" : "*", size);
  }
  if (shape.dp_near < 0 || shape.dp % std::max(1, shape.dp_near) != 0) {
    throw UserError("mesh", fmt::format("parallel.zero_group must divide parallel.dp: found {} of {}. Set it to the "
                                        "ranks of dp on a machine, or to 0 for all",
                                        shape.dp_near, shape.dp));
  }
  if (product == num_ranks) return;
  throw UserError("mesh",
                  fmt::format("{} must equal the number of ranks: {} = {}, found {}. {}tart {} rank{}.", names, values,
                              product, num_ranks, one_axis_remedy(shape, num_ranks), product, product == 1 ? "" : "s"));
}

MeshCoordinate mesh_coordinate(const MeshShape& shape, int world_rank) {
  MeshCoordinate at;
  at.tp = world_rank % shape.tp;
  world_rank /= shape.tp;
  at.cp = world_rank % shape.cp;
  world_rank /= shape.cp;
  at.dp = world_rank % shape.dp;
  at.pp = world_rank / shape.dp;
  return at;
}

int mesh_world_rank(const MeshShape& shape, const MeshCoordinate& at) {
  return ((at.pp * shape.dp + at.dp) * shape.cp + at.cp) * shape.tp + at.tp;
}

std::string AxisSet::to_string() const {
  std::string text;
  for (const Axis axis : *this) text += fmt::format("{}{}", text.empty() ? "" : "+", axis_name(axis));
  return text;
}

Mesh::Mesh(Group& world, const MeshShape& shape, Device& device) : world_(&world), shape_(shape) {
  check_mesh_shape(shape, world.size());
  coordinate_ = mesh_coordinate(shape, world.rank());

  const auto keep = [&](std::unique_ptr<Group> host) {
    groups_.push_back(make_device_group(std::move(host), device));
    return groups_.back().get();
  };
  // The ranks that have this one's color, a coordinate.
  const auto group_of_color = [&](const std::string& name, const auto& color_of) {
    return keep(world.split_by(
        [&](int rank) { return mesh_world_rank(shape_, color_of(mesh_coordinate(shape_, rank))); }, name));
  };
  // Those that agree with this one on every axis but the free ones, which become 0 in the color.
  const auto group_of_free = [&](std::string_view name, AxisSet free, bool pp_is_free) {
    std::string fixed;
    const auto visit = [&](std::string_view axis, int at, bool is_free) {
      if (is_free || (axis == "cp" && shape_.cp == 1)) return;
      fixed += fmt::format("{}{}={}", fixed.empty() ? "" : ",", axis, at);
    };
    visit("pp", coordinate_.pp, pp_is_free);
    visit("dp", coordinate_.dp, free.contains(Axis::kDp));
    visit("cp", coordinate_.cp, free.contains(Axis::kCp));
    visit("tp", coordinate_.tp, free.contains(Axis::kTp));
    const auto color_of = [&](MeshCoordinate color) {
      if (pp_is_free) color.pp = 0;
      if (free.contains(Axis::kDp)) color.dp = 0;
      if (free.contains(Axis::kCp)) color.cp = 0;
      if (free.contains(Axis::kTp)) color.tp = 0;
      return color;
    };
    return group_of_color(fmt::format("{}[{}]", name, fixed), color_of);
  };

  // What is made, and in which order, follows from the mesh's shape alone: every rank takes part in every split.
  by_axes_[0] = keep(make_self_group("this rank", world.world_rank(world.rank())));
  for (std::size_t index = 1; index < by_axes_.size(); ++index) {
    const AxisSet axes = AxisSet::of_index(index);
    AxisSet several;
    for (const Axis axis : axes) {
      if (shape_.size(axis) > 1) several = several.with(axis);
    }
    by_axes_[index] = several == axes ? group_of_free(axes.to_string(), axes, false) : by_axes_[several.index()];
  }
  const int near = shape_.num_near();
  if (near == shape_.dp) {
    near_dp_ = &group(Axis::kDp);
    far_dp_ = by_axes_[0];
  } else {
    const auto place = [&](std::string_view name, std::string_view what, int at) {
      return fmt::format("{}[pp={},{}={},cp={},tp={}]", name, coordinate_.pp, what, at, coordinate_.cp, coordinate_.tp);
    };
    const auto first_of_near = [&](MeshCoordinate color) {
      color.dp -= color.dp % near;
      return color;
    };
    const auto first_of_far = [&](MeshCoordinate color) {
      color.dp %= near;
      return color;
    };
    near_dp_ = group_of_color(place("dp near", "neighbourhood", coordinate_.dp / near), first_of_near);
    far_dp_ = group_of_color(place("dp far", "place", coordinate_.dp % near), first_of_far);
  }
  const AxisSet all_axes{Axis::kDp, Axis::kCp, Axis::kTp};
  Group* stage = &group(all_axes);
  pp_ = shape_.pp > 1 ? group_of_free("pp", {}, true) : by_axes_[0];
  if (shape_.pp == 1) {
    all_ranks_ = stage;
  } else if (stage->size() == 1) {
    all_ranks_ = pp_;
  } else {
    all_ranks_ = keep(world.split_by([](int) { return 0; }, "all ranks"));
  }
}

void Mesh::set_trace(Trace* trace) {
  for (const std::unique_ptr<Group>& group : groups_) group->set_trace(trace);
}

// A group moves along what is in flight in all of its rank's groups, the host's too.
void Mesh::progress() const {
  all_ranks_->progress();
}

}  // namespace triptych::parallel
