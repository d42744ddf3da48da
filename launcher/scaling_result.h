#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "launcher/scaling_plan.h"
#include "launcher/step_prediction.h"

namespace triptych::launcher {

/// What `bench step` printed on a mesh, a round each.
struct ScalingRuns {
  ScalingPoint point;
  std::vector<nlohmann::json> rounds;
  std::optional<StepPrediction> planned;  ///< of all meshes or of none
};

/// What they say together.
struct ScalingSummary {
  double step_ms_median = 0;        ///< the median over the rounds of their medians
  double step_ms_best = 0;          ///< the least of all steps
  double samples_per_s_median = 0;  ///< of the two times
  double samples_per_s_best = 0;
  /// Samples a second and rank over those of the first mesh, the one of fewest ranks: the median over the rounds of the
  /// ratio within a round, and the ratio of the best.
  double efficiency_median = 1, efficiency_best = 1;
  /// Of a traced step, ms, the mean of rounds and ranks: "compute", "optimizer", "pipeline" (waits of `pp`: bubble and
  /// messages), and communication by the kind of group: "dp", "tp", ... ("poll" is moves of data for any of them); of
  /// runs with a loader also "loader".
  std::map<std::string, double> part_ms;
  std::map<std::string, double> memory_mb;  ///< by part, of the rank whose pool held most at its peak
  double pool_peak_mb = 0;                  ///< of that rank
};

/// Of all meshes, the first of which is what the others are compared with. Throws WorldError if a round lacks a number
/// that `bench step` prints.
std::vector<ScalingSummary> summarize(const std::vector<ScalingRuns>& runs);

/// The table for a terminal, with a line that says what its numbers are.
std::string scaling_table(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries);
/// The same for a terminal: planned beside measured, of runs that are planned.
std::string prediction_table(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries);
/// A row a mesh. Fields of what is planned, and of a loader, are empty where there is none.
std::string scaling_csv(const std::vector<ScalingRuns>& runs, const std::vector<ScalingSummary>& summaries);
/// A row for each mesh, rank and part of time or memory, of the mean over the rounds: mesh, rank, part, unit, value.
std::string ranks_csv(const std::vector<ScalingRuns>& runs);

}  // namespace triptych::launcher
