#pragma once

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "device/memory_stats.h"
#include "training/run_config.h"
#include "training/session.h"

namespace triptych::training {

struct PaperSteps {
  int num_batches =
      2;  ///< on the device at a time: 2 in training, where one is on its way while a step works on the other
  /// The first shows the reducer how gradients come out; from the second on a step is like all others.
  int num_steps = 3;
  double most_bytes = std::numeric_limits<double>::infinity();  ///< that a rank may hold
};

/// Runs steps of the engine itself on a device without memory (`triptych-paper`), with all that the run has: on the
/// rank of each pipeline stage whose other coordinates are 0. When the last step has run, `visit` sees the session,
/// with what its device counted, and a trace of that step, whose clock is the position in the device's work log.
/// Returns whether no rank held more than it may; if not, steps that were left do not run, and not all is visited.
/// Throws what a run of the config would throw; InternalError in a program with another backend.
bool run_steps_on_paper(const RunConfig& config, const PaperSteps& steps,
                        const std::function<void(Session& session, const Trace& last_step)>& visit);

/// What a run would hold of its device's memory: the rank of each pipeline stage whose other coordinates are 0, at the
/// moment at which it holds most. No number is a model of the engine's: it is what run_steps_on_paper allocates.
/// By pipeline rank. Throws as that does.
std::vector<MemoryStats> plan_memory(const RunConfig& config, int num_batches = 2);

/// The most that any rank holds.
std::size_t peak_bytes(const std::vector<MemoryStats>& ranks);

/// A way to recompute, and what ranks hold with it.
struct MemoryFit {
  Recompute recompute = Recompute::kNone;
  std::vector<std::string> full_blocks;  ///< see ParallelOptions
  std::vector<MemoryStats> ranks;
};

/// The least recomputation, from parallel.recompute on, with which every rank holds at most `budget_bytes`: none, then
/// selective, then selective with the first blocks of a pipeline rank in full, on each rank as many as it needs, then
/// full. Nothing where that holds more too.
std::optional<MemoryFit> fit_memory(const RunConfig& config, std::size_t budget_bytes, int num_batches = 2);

}  // namespace triptych::training
