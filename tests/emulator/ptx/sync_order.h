#pragma once

#include <array>
#include <cstdint>

namespace triptych::emulator::ptx {

/// Which accesses of a warp's lanes are ordered by `bar.warp.sync`. An access is stamped with the number of
/// synchronisations so far; lane a's access is ordered before what lane b does now if a synchronisation (or a chain of
/// them) with both has come in between.
class SyncOrder {
 public:
  uint32_t stamp() const { return stamp_; }
  uint32_t last_full() const {
    return full_;
  }  ///< accesses with a lower stamp are ordered before what any lane does now

  /// The lanes of `members` synchronise.
  void synchronise(uint32_t members);
  /// Closes what was done so far without ordering it: the new stamp, which what follows has.
  uint32_t advance() { return ++stamp_; }
  /// All lanes of the block synchronise, so all lanes of the warp.
  void synchronise_all() { full_ = ++stamp_; }

  bool ordered(int earlier, uint32_t stamp, int later) const {
    return earlier == later || full_ > stamp ||
           seen_[static_cast<unsigned>(later)][static_cast<unsigned>(earlier)] > stamp;
  }

 private:
  uint32_t stamp_ = 0;
  uint32_t full_ = 0;  // the stamp after the last synchronisation of the whole warp
  std::array<std::array<uint32_t, 32>, 32>
      seen_{};  // [later][earlier]: accesses of `earlier` with lower stamps are ordered
};

}  // namespace triptych::emulator::ptx
