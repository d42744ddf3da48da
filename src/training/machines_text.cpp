#include "training/machines_text.h"

#include <string_view>

#include <fmt/format.h>

namespace triptych::training {

std::string machines_text(const World& world, const Mesh& mesh) {
  std::string carriers;
  const auto add_as = [&](std::string_view axis, const Group& group, std::string_view carrier) {
    if (group.size() == 1) return;
    carriers += fmt::format("{}{} through {}", carriers.empty() ? "" : ", ", axis, carrier);
  };
  const auto add = [&](std::string_view axis, const Group& group) { add_as(axis, group, group.transport()); };
  add("tp", mesh.group(Axis::kTp));
  add("cp", mesh.group(Axis::kCp));
  add("dp", mesh.group(Axis::kDp));
  if (mesh.far_dp().size() > 1) add("sums of pieces", mesh.far_dp());
  // Stages send messages, each of which is one.
  add_as("pp", mesh.pp(), mesh.pp().transport() == "MPI in pieces" ? "MPI" : mesh.pp().transport());
  const std::string cards = world.interfaces();
  return fmt::format("{}; {}; {}", world.machines().to_string(), carriers,
                     cards.empty() ? "no TCP between machines" : "TCP between machines over " + cards);
}

}  // namespace triptych::training
