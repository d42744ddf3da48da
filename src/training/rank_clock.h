#pragma once

#include <functional>
#include <string>
#include <vector>

#include "parallel/mesh.h"
#include "parallel/world.h"
#include "report/metrics.h"
#include "report/run_status.h"

namespace triptych::training {

/// Adds up what this rank's time in steps goes into, for the page that shows all ranks beside each other. Costs two
/// system calls a step.
class RankClock {
 public:
  /// The world must outlive this.
  RankClock(const World& world, int rank, const MeshCoordinate& place);

  /// What follows is a step: before the first one, and after what is none, such as saving.
  void start() { begin_ = now(); }
  /// Calls `wait`, which waits for the loader: all of that time is the loader's, also where it waits for what other
  /// ranks say of their rows.
  void for_loader(const std::function<void()>& wait) {
    const double before = world_->waited_s();
    wait();
    begin_.waited_s += world_->waited_s() - before;
  }
  /// A step has ended, and what follows is none until `add`.
  void stop() { end_ = now(); }
  /// Of the step that was stopped; another one begins.
  void add(const StepMetrics& line);
  /// Every rank's sums, by rank. Collective, blocks.
  ///   peak_bytes   the most that this rank's device has held
  std::vector<RankTime> gather(Group& group, std::size_t peak_bytes);

 private:
  struct Reading {  // sums of all time
    double waited_s = 0, cpu_s = 0;
  };
  Reading now() const;

  const World* world_;
  RankTime sum_;
  Reading begin_, end_;  // of the last step
};

}  // namespace triptych::training
