#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "emulator/ptx/warp.h"

namespace triptych::emulator::ptx {

/// A strong access (`volatile`, `relaxed`, `acquire`, `release`, an atomic) races with weak ones only.
enum class Access : uint8_t { Read, StrongRead, Write, Atomic };
/// "reads", "writes", "updates".
const char* verb_of(Access access);

/// Who touched each byte of some memory since the block's last barrier. Since a warp runs in lockstep and warps take
/// turns, a missing barrier would mostly go unnoticed; here two threads that touch a byte, one of them writing, are in
/// conflict unless for lanes of one warp a `bar.warp.sync`, or a fence and an atomic (FenceOrder), comes in between. In
/// one instruction lanes may write equal values. A shuffle orders nothing.
///
/// Words are tracked as one until an access to a part of one comes; from then on all are by halves, or by bytes.
class AccessCells {
 public:
  explicit AccessCells(std::size_t num_bytes);

  struct Conflict {
    uint32_t at = 0;
    bool other_wrote = false;
    int other_thread = 0;
    uint32_t other_pc = 0;
  };
  /// Access to bytes [at, at + size). A plain write replaces `before` by `value`; else both are what is there. `epoch`,
  /// from 1, is the number of barriers so far.
  std::optional<Conflict> touch(Warp& warp, int lane, uint32_t epoch, uint32_t at, unsigned size, Access access,
                                const std::byte* before, const std::byte* value);
  /// "which thread 5 wrote at ... with no __syncthreads in between. Synchronise the threads."
  static std::string describe(const Warp& warp, const Conflict& conflict);

 private:
  struct Touches {
    uint32_t epoch = 0, stamp = 0, pc = 0;
    uint32_t lanes = 0;         // of `warp`
    uint16_t other_thread = 0;  // of another warp, if several did
    uint8_t warp = 0;
    bool by_several_warps = false, weak = false;

    void add(Warp& warp, int lane, uint32_t epoch, bool is_weak);
    std::optional<int> unordered(Warp& warp, int lane) const;
  };
  struct Cell {
    Touches reads, writes;
    uint32_t write_instruction = 0;  // of the writer's warp
  };

  void refine(unsigned cell_bytes);
  std::optional<Conflict> touch_cell(Warp& warp, int lane, uint32_t epoch, uint32_t at, Access access,
                                     const std::byte* before, const std::byte* value);

  unsigned cell_bytes_ = 4;
  std::vector<Cell> cells_;
};

}  // namespace triptych::emulator::ptx
