#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace triptych::launcher {

/// Whether the global batch grows with the ranks.
enum class ScalingMode : uint8_t {
  kWeak,    ///< it is the config's for one rank, and as many times that as there are ranks
  kStrong,  ///< it is the config's, on however many ranks
};

/// One mesh on which a config is measured.
struct ScalingPoint {
  std::string name;  ///< "dp=2", "pp=4,microbatches=16"; "1 rank"
  std::string line;  ///< of the plots: the words that asked for it
  int num_ranks = 1;
  bool is_alone = false;  ///< the ranks are runs of their own, which know nothing of each other
  int64_t global_batch = 0;
  std::vector<std::string> overrides;  ///< of the config, as --set has them
};

/// The meshes that the command line asks for, each once, by number of ranks.
///
///   meshes  comma-separated words each: KEY=VALUE sets parallel.KEY, axes (pp, dp, cp, tp) that are not named have one
///           rank; an axis alone ("tp", "pp,microbatches=16") stands for a mesh of each of `ranks`
///           "alone" stands for as many runs of one rank at once: what the machine itself leaves to each
///   ranks   1 among them is the config on one rank, whatever else a mesh says
///   batch   of the config
/// Throws UserError for words that are not of that form, a number of ranks above 1024, or if less than two meshes
/// result.
std::vector<ScalingPoint> plan_scaling(std::span<const std::string> meshes, std::span<const int> ranks,
                                       ScalingMode mode, int64_t batch);

}  // namespace triptych::launcher
