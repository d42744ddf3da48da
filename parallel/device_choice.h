#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "parallel/world.h"

namespace triptych::parallel {

/// What a rank sees of its machine's devices.
struct VisibleDevices {
  std::string host;              ///< the machine's name, for errors
  int node_rank = 0;             ///< among the ranks of its machine
  std::vector<std::string> ids;  ///< by the number that the rank knows them by; equal for one device in any process
};

/// A device for every rank, by that number, and none for two. A rank that sees all of its machine takes that of its
/// place there; one that a scheduler shows a single device, that one; where ranks see different parts, whatever lets
/// all have one. Pure: every rank comes to the same choice. Throws UserError that names the ranks that see too few
/// devices between them.
std::vector<int> choose_devices(std::span<const VisibleDevices> ranks);

/// This rank's number in that choice. Collective over the world; `visible` lists what this rank sees and may throw,
/// which all ranks then tell as one error. 0 where it lists nothing: ranks of the CPU share what there is. Throws
/// AgreedError.
int agree_on_device(World& world, const std::function<std::vector<std::string>()>& visible);

}  // namespace triptych::parallel
