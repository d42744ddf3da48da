#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/rooms.h"

namespace triptych::report {

/// What one rank did since its process began to train. Times are sums, in seconds; NaN: not known.
struct RankTime {
  int64_t rank = 0;
  std::string host;
  std::string place;                                               ///< on the mesh: "pp 0, dp 1, cp 0, tp 0"
  int64_t steps = 0;                                               ///< that the times are of
  double steps_s = 0;                                              ///< wall clock
  double loader_wait_s = 0;                                        ///< of them, waiting for the loader
  double peer_wait_s = 0;                                          ///< of them, the host waiting for other ranks
  double cpu_s = 0;                                                ///< of the process, over all its threads
  double rss_mb = 0;                                               ///< resident memory at the end of them
  double pool_peak_mb = std::numeric_limits<double>::quiet_NaN();  ///< the most that its device's pool has held
};

/// What a step was expected to take, on machines of which a file says the rates.
struct PlannedStep {
  std::string cluster;  ///< the machines
  double step_ms = 0;
  double wait_ms = 0;  ///< of it, a rank's waits for others: in operations of groups and for the pipeline
  double peak_mb = 0;  ///< of the rank whose device's pool holds most
};

enum class RunPhase {
  kRunning,   ///< as of the time it was written: whether the process is still there is not known
  kFinished,  ///< all steps are done
  kStopped,   ///< asked to by a signal or training.stop_after
  kFailed     ///< by an error that the process could still tell
};

/// Where a run is, for those who look at it from outside: `status.json`, written with each report.
struct RunStatus {
  RunPhase phase = RunPhase::kRunning;
  int64_t step = 0, last_step = 0;  ///< done, and to do in all
  std::string message;              ///< of a run that failed or was stopped: why
  std::string started;              ///< the run's first beginning, "2026-03-01T12:00:00Z"
  std::string updated;              ///< when this was written
  std::string program;              ///< "0.1.0"; whose last part of the run it is, as all that follows
  std::vector<std::pair<std::string, std::string>> facts;  ///< name, value, in the page's order: mesh, parameters
  std::vector<RankTime> ranks;                             ///< by rank; empty: not known yet
  std::optional<PlannedStep> planned;
};

inline constexpr std::string_view kStatusName = "status.json";
inline constexpr std::string_view kStatusFormat = "triptych-status";

/// "running", "finished", "stopped", "failed".
std::string_view phase_name(RunPhase phase);

/// JSON, and the reverse: throws UserError, with the place `where`, for what status_to_json did not write.
std::string status_to_json(const RunStatus& status);
RunStatus status_from_json(std::string_view text, std::string_view where);

/// Of a run's folder; nothing if it has none. Throws UserError as above, also for more than 64 MiB.
std::optional<RunStatus> read_status(const std::filesystem::path& folder);

/// One rank's times as text, to be gathered on another, and the reverse.
std::string to_text(const RankTime& time);
RankTime rank_time_from_text(std::string_view text);

}  // namespace triptych::report
