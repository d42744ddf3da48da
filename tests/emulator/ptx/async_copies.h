#pragma once

#include <array>
#include <cstdint>
#include <vector>

namespace triptych::emulator::ptx {

/// The `cp.async` copies of a warp's threads that are under way. The source is read when the copy is issued; the bytes
/// arrive in shared memory when the thread waits for their group, and not before.
class AsyncCopies {
 public:
  struct Copy {
    uint32_t to = 0;  ///< shared address
    uint8_t lane = 0, size = 0;
    uint32_t group = 0;
    uint32_t pc = 0;
    std::array<std::byte, 16> bytes{};
  };

  void issue(Copy copy) {
    copy.group = groups_[copy.lane];
    pending_.push_back(copy);
  }
  void commit(uint32_t lanes);
  /// Takes out the copies of `lanes` that belong to any but their `allowed` last committed groups; with `uncommitted`
  /// also those of no group yet. In the order of issue.
  std::vector<Copy> wait(uint32_t lanes, uint32_t allowed, bool uncommitted);

 private:
  std::array<uint32_t, 32> groups_{};  // by lane: the group that a copy issued now joins
  std::vector<Copy> pending_;
};

}  // namespace triptych::emulator::ptx
