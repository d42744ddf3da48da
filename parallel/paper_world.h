#pragma once

#include <functional>

#include "parallel/mesh.h"

namespace triptych::parallel {

/// Runs `body` once for each pipeline rank of a mesh of any size, as the rank of that stage with the first coordinate
/// on the other axes: of a run on paper, where a stage's ranks are alike. Its group has all ranks of the mesh.
///
/// What a rank says (`all_gather_string`, and so `together`), every rank of its stage says; numbers are not exchanged:
/// what would come from others is what this rank gave. Splits that the mesh makes, and those by what stages have in
/// common, are right. Messages carry nothing and are done at once. An exception of a stage is thrown again here.
void run_on_paper(const MeshShape& shape, const std::function<void(Group& world)>& body);

}  // namespace triptych::parallel
