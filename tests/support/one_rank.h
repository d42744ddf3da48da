#pragma once

#include <memory>

#include "device/device.h"
#include "parallel/mesh.h"

namespace triptych::test {

/// A device and a mesh of this thread alone.
struct OneRank {
  Device device{1};
  std::unique_ptr<Group> world = make_self_group("test");
  Mesh mesh{*world, MeshShape{}, device};
};

}  // namespace triptych::test
