#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "emulator/ptx/access_cells.h"

namespace triptych::emulator::ptx {

/// What the threads of a block did in global memory since its last barrier: two of them that touch a byte, one writing,
/// are a `global-race` as they would be a `shared-race` in shared memory. The same accesses are kept by block in
/// BlockAccesses.
class ThreadAccesses {
 public:
  /// Reports in the name of `lane` of `warp`. The address is aligned to `size`; a write comes before its bytes change.
  void touch(Warp& warp, int lane, uint64_t address, unsigned size, Access access, const std::byte* value = nullptr);
  void barrier();  ///< orders everything before it; also at the block's end

 private:
  static constexpr std::size_t kPageBytes = 1024;
  AccessCells& page(uint64_t number);
  [[noreturn]] static void race(Warp& warp, int lane, uint64_t page, Access access,
                                const AccessCells::Conflict& conflict);

  uint32_t epoch_ = 1;
  std::unordered_map<uint64_t, std::unique_ptr<AccessCells>> pages_;  // touched since the barrier
  std::vector<std::unique_ptr<AccessCells>> unused_;                  // what they know is of older epochs
  uint64_t last_number_ = 0;
  AccessCells* last_page_ = nullptr;
};

}  // namespace triptych::emulator::ptx
