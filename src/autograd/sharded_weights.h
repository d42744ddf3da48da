#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "autograd/piece_rows.h"
#include "parallel/group.h"

namespace triptych::autograd {

/// Brings the whole weights to operations where each rank of dp keeps a piece of them (Rajbhandari et al. 2020, ZeRO):
/// parameters are gathered in units, such as those of a block, when operations first read one of them. Nobody asks for
/// it: the `compute` tensor of a parameter waits for its unit like any tensor that is on its way.
///
/// Where weights are freed, operations are counted (`tick`): in the first step a unit is given up after every
/// operation, and is seen to be read by later ones; that becomes the plan of the steps after it. By it a unit stays as
/// long as it is read again soon, and the one that is read next is gathered ahead. The order of gathers comes from the
/// program alone and is the same on all ranks of dp. What the plan does not know is gathered when it is read.
class ShardedWeights {
 public:
  /// The parameters of all units are sharded over dp and need no memory for `compute` yet.
  ///   is_freed   weights are given up after their use (ZeRO 3), or kept until the values change (ZeRO 1 and 2)
  /// Parameters and mesh outlive this.
  ShardedWeights(Device& device, Mesh& mesh, const std::vector<std::vector<Parameter*>>& units, bool is_freed);
  ~ShardedWeights();
  ShardedWeights(const ShardedWeights&) = delete;
  ShardedWeights& operator=(const ShardedWeights&) = delete;

  /// The parameters' values were changed: what was gathered of them is old.
  void values_changed();
  /// The next step runs by another plan, as when other parameters are trained.
  void relearn();
  void begin_step();
  void end_step();
  /// An operation of a step's backward has run, or a block of a forward pass. Cheap.
  void tick();

  /// Gathers all units now and keeps them until `release`: while this lives, ranks of dp may differ in what they read
  /// and when. Collective over dp; not within a step, and the values do not change meanwhile.
  void hold();
  void release();

 private:
  enum class State : uint8_t { kAway, kComing, kHere };
  struct Unit {
    std::vector<PieceRows> rows;  // one a type
    std::vector<Tensor> received;
    std::vector<std::shared_ptr<Pending>> pending;
    State state = State::kAway;
  };
  struct Read {
    int64_t tick;
    std::size_t unit;
  };

  void arm(std::size_t unit);
  void disarm(Unit& unit);
  void on_read(std::size_t unit);
  void start(std::size_t unit);
  void complete(Unit& unit);
  void give_up(std::size_t unit);
  void make_plan();

  Device* device_;
  Mesh* mesh_;
  bool is_freed_;
  std::vector<Unit> units_;
  std::set<std::size_t> here_;

  bool is_held_ = false, is_in_step_ = false, has_plan_ = false;
  int64_t tick_ = 0;
  std::vector<Read> reads_;                            // of the step that is watched
  std::vector<std::size_t> gathers_;                   // the plan: units in the order in which they are gathered
  std::map<int64_t, std::vector<std::size_t>> frees_;  // and given up, by tick
  std::size_t next_gather_ = 0;
};

}  // namespace triptych::autograd
