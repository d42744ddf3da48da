#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// A block's shared memory. Since a warp runs in lockstep and warps take turns, a missing barrier would mostly go
/// unnoticed; so every byte remembers who touched it since the block's last barrier. Two threads that touch a byte, one
/// of them writing, are a `shared-race` unless a barrier, or for lanes of one warp a `bar.warp.sync`, comes in between.
/// Atomics do not race with each other. A shuffle orders nothing.
///
/// A byte that is read before anything has written it is most often a missing barrier too, seen from the other side:
/// the report waits until the next barrier, so that a write that comes meanwhile makes it a race.
///
/// Words are tracked as one until an access to a part of one comes.
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
  enum class Access : uint8_t { Read, Write, Atomic };

  struct Cell {
    uint32_t write_epoch = 0, write_stamp = 0, write_pc = 0;
    uint32_t write_instruction = 0;  // of the writer's warp: lanes of one instruction may write equal values
    uint32_t read_epoch = 0, read_stamp = 0, read_pc = 0;
    uint32_t readers = 0;  // lanes of read_warp
    uint16_t write_thread = 0;
    uint16_t other_reader = 0;  // a thread of another warp than read_warp, if several_warps_read
    uint8_t read_warp = 0;
    bool atomic_write = false, several_writers = false, several_warps_read = false;
  };

  void note_undefined(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb);
  void require_inside(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb) const;
  void track(Warp& warp, int lane, uint32_t address, unsigned size, Access access, const std::byte* value);
  void track_cell(Warp& warp, int lane, uint32_t address, unsigned size, Cell& cell, Access access,
                  const std::byte* value);
  void record_read(Warp& warp, int lane, Cell& cell) const;
  std::array<Cell, 4>& split(uint32_t word);
  [[noreturn]] void race(Warp& warp, int lane, uint32_t address, Access access, bool other_wrote, int other_thread,
                         uint32_t other_pc) const;
  std::string where(uint64_t address) const;

  const Program& program_;
  std::size_t dynamic_bytes_;
  uint32_t size_;
  std::vector<std::byte> bytes_;
  std::vector<uint8_t> states_;
  std::vector<Cell> words_;
  std::vector<uint32_t> split_index_;             // by word; 0: not split
  std::vector<std::array<Cell, 4>> split_words_;  // from index 1
  uint32_t epoch_ = 0;
  std::string undefined_read_;  // the report that waits
};

}  // namespace triptych::emulator::ptx
