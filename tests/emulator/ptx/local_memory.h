#pragma once

#include <cstdint>
#include <vector>

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// The local memory of a warp's threads, with a state for each byte.
class LocalMemory {
 public:
  enum State : uint8_t { OutOfBounds = 0, Undefined = 1, Defined = 3 };

  explicit LocalMemory(const Program& program);

  /// Null if the access leaves the thread's variables.
  std::byte* bytes(int lane, uint64_t address, std::size_t size);
  bool is_defined(int lane, uint64_t address, std::size_t size) const;
  void mark_defined(int lane, uint64_t address, std::size_t size);
  /// Moves undefinedness along; both ranges are variables.
  void copy(int lane, uint32_t to, uint32_t from, uint32_t size);

 private:
  std::size_t at(int lane, uint64_t address) const { return static_cast<std::size_t>(lane) * size_ + address; }

  std::size_t size_;
  std::vector<std::byte> bytes_;
  std::vector<uint8_t> states_;
};

}  // namespace triptych::emulator::ptx
