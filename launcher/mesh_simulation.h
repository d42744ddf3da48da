#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "training/mesh_search.h"

namespace triptych::launcher {

/// The fastest mesh of so many devices.
struct SimulatedMesh {
  int devices = 1;
  int64_t global_batch = 0;
  MeshPlan plan;
};

/// Seconds of a step by part: "compute", "bubble", and the waits for operations of each group.
std::map<std::string, double> seconds_by_part(const StepPlan& step);

/// Samples a second and device over those of one device, the first of `meshes`.
double efficiency(const SimulatedMesh& mesh, const SimulatedMesh& one);

/// What a step takes more than on one device, by part, as shares of the step, the largest first; what is less than half
/// a percent is left out.
std::vector<std::pair<std::string, double>> losses(const SimulatedMesh& mesh, const SimulatedMesh& one);

/// Sentences that say what limits the last of them.
std::string limits_text(const std::vector<SimulatedMesh>& meshes);

/// Files by name: scaling.csv, a row a mesh; efficiency.svg, which says what limits the last; time.svg, a step's
/// time by part.
std::map<std::string, std::string> simulation_files(const std::vector<SimulatedMesh>& meshes);

}  // namespace triptych::launcher
