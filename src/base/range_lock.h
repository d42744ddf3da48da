#pragma once

#include <cstdint>
#include <filesystem>

#include "base/rooms.h"

namespace triptych::base {

/// A lock on one number of a file, against all other RangeLocks of any process and thread on any machine that sees the
/// file. The file is made if need be, and stays empty. The system lets go of what a process held that ends, however it
/// ends. Given back on destruction.
class RangeLock {
 public:
  RangeLock() = default;
  /// Tries once. Throws WorldError if the file cannot be opened or locked for another reason than that it is held.
  static RangeLock attempt(const std::filesystem::path& file, uint64_t number);
  RangeLock(RangeLock&& other) noexcept;
  RangeLock& operator=(RangeLock&& other) noexcept;
  ~RangeLock();

  bool is_held() const { return descriptor_ >= 0; }

 private:
  int descriptor_ = -1;
};

}  // namespace triptych::base
