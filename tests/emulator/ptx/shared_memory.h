#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "emulator/ptx/access_cells.h"
#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// A block's shared memory, with its races (AccessCells).
///
/// A byte that is read before anything has written it is most often a missing barrier too, seen from the other side:
/// the report waits until the next barrier, so that a write that comes meanwhile makes it a race.
class SharedMemory {
 public:
  SharedMemory(const Program& program, std::size_t dynamic_bytes);
  /// Forgets everything: another block comes.
  void begin_block();

  /// All of these report violations in the name of `lane` of `warp`; the address is aligned to `size`.
  const std::byte* read(Warp& warp, int lane, uint64_t address, unsigned size);
  void write(Warp& warp, int lane, uint64_t address, unsigned size, const std::byte* value);
  std::byte* atomic(Warp& warp, int lane, uint64_t address, unsigned size);
  /// The destination of an asynchronous copy: unreadable until the bytes arrive.
  void begin_copy(Warp& warp, int lane, uint64_t address, unsigned size);
  void end_copy(Warp& warp, int lane, uint64_t address, unsigned size, const std::byte* value);

  void barrier();  ///< orders everything before it; also at the block's end
  /// Reports what has been read without being written, if anything.
  void report_undefined() const;

 private:
  enum State : uint8_t { OutOfBounds = 0, Undefined = 1, InFlight = 2, Defined = 3 };
  void note_undefined(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb);
  void require_inside(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb) const;
  void track(Warp& warp, int lane, uint64_t address, unsigned size, Access access, const std::byte* value);
  std::string where(uint64_t address) const;

  const Program& program_;
  std::size_t dynamic_bytes_;
  uint32_t size_;
  std::vector<std::byte> bytes_;
  std::vector<uint8_t> states_;
  AccessCells cells_;
  uint32_t epoch_ = 0;
  std::string undefined_read_;  // the report that waits
};

}  // namespace triptych::emulator::ptx
