#pragma once

#include <string>

#include "parallel/mesh.h"
#include "parallel/world.h"

namespace triptych::training {

/// "ranks 0-1 on n1, ranks 2-3 on n2; tp through shared memory, dp through MPI in pieces; TCP between machines over
/// eth1 (10.1.0.7)": where the ranks are, and what carries what they tell each other, as this rank has it. Local.
std::string machines_text(const World& world, const Mesh& mesh);

}  // namespace triptych::training
