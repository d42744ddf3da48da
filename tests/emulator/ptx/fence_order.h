#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

namespace triptych::emulator::ptx {

/// Order between the warps of a block without a barrier, by the protocol that LaunchAccesses knows between blocks:
/// write, fence, atomic; atomic, fence, read. A fence by any lane counts for what all lanes of its warp did before it.
/// A global atomic releases to its address what has been fenced; what has been released there is acquired with the
/// warp's next fence or `bar.warp.sync`. Accesses are stamped as SyncOrder does.
class FenceOrder {
 public:
  explicit FenceOrder(int num_warps) : warps_(static_cast<std::size_t>(num_warps)) {}

  /// What `warp` did with stamps below `stamp` is fenced.
  void fence(int warp, uint32_t stamp);
  void atomic(int warp, uint64_t address);
  void strong_read(int warp, uint64_t address);
  void warp_barrier(int warp) { acquire(warps_[static_cast<std::size_t>(warp)]); }
  void barrier();  ///< of the block: orders everything before it

  bool has_acquired(int warp) const { return !warps_[static_cast<std::size_t>(warp)].known.empty(); }
  /// If `later` has acquired anything: whether what `earlier` did at `stamp` is part of it.
  bool ordered(int earlier, uint32_t stamp, int later) const {
    return warps_[static_cast<std::size_t>(later)].known[static_cast<std::size_t>(earlier)] > stamp;
  }

 private:
  using Clock = std::vector<uint32_t>;  // by warp: accesses with lower stamps lie before
  struct State {
    uint32_t fenced = 0;
    Clock known, pending;  // to be known from the next fence on
  };
  static void join(Clock& clock, const Clock& other);
  static void acquire(State& warp);

  std::vector<State> warps_;
  std::unordered_map<uint64_t, Clock> released_;  // by the address of an atomic
};

}  // namespace triptych::emulator::ptx
