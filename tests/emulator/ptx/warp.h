#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "emulator/ptx/async_copies.h"
#include "emulator/ptx/local_memory.h"
#include "emulator/ptx/program.h"
#include "emulator/ptx/sync_order.h"

namespace triptych::emulator::ptx {

class Block;

/// 32 lanes that run in lockstep. Lanes whose branches part take turns: the group with the lowest pc runs, until it
/// reaches another group and joins it.
class Warp {
 public:
  enum class State : uint8_t { Ready, AtBarrier, Done };

  Warp(Block& block, int index, int num_threads);

  /// Runs at most `budget` instructions.
  State run(uint32_t budget);
  State state() const { return state_; }
  /// The pc of the barrier that all lanes wait at.
  uint32_t pc() const { return pc_; }
  /// Lanes that exist and have not exited.
  uint32_t live() const { return live_; }
  void pass_barrier();

  // ---- What instructions use.
  template <class T>
  T* lanes(const Operand& operand) {
    return reinterpret_cast<T*>(registers_.data() + operand.offset);
  }
  uint32_t& predicate(const Operand& operand) { return *lanes<uint32_t>(operand); }
  uint32_t& written(const Operand& operand) { return written_[operand.index]; }
  uint32_t mask() const { return mask_; }      ///< lanes that execute this instruction
  uint32_t active() const { return active_; }  ///< the group at this pc, of which the guard may exclude some
  /// Reports an uninitialised read if a lane of `lanes` has never written `operand`.
  void require_written(const Operand& operand, uint32_t lanes);

  void jump(uint32_t target) { next_pc_ = target; }
  void branch(uint32_t taken, uint32_t target);              ///< the lanes of `taken` jump, the others go on
  void branch(const std::array<uint32_t, kLanes>& targets);  ///< every executing lane to its own
  void exit(uint32_t lanes);
  void arrive_at_barrier();
  /// For an instruction that the lanes of `member` execute together: true if all of them are here (or have exited);
  /// else this group waits, and executes the instruction again when another group has reached it.
  bool gather(uint32_t member);

  Block& block() { return block_; }
  const Program& program() const { return program_; }
  LocalMemory& local() { return local_; }
  AsyncCopies& async_copies() { return async_copies_; }
  SyncOrder& order() { return order_; }
  int thread(int lane) const { return index_ * kLanes + lane; }  ///< in the block
  int index() const { return index_; }
  uint64_t num_instructions() const { return num_instructions_; }

  /// Reports `name`, saying kernel, block, thread, and line. A read of undefined memory that waits to be reported is
  /// the likelier cause: it goes first.
  [[noreturn]] void fail(std::string_view name, int lane, const std::string& problem) const;
  std::string describe_problem(int lane, const std::string& problem) const;
  std::string describe_line(uint32_t pc) const;

 private:
  void step(const Op& op);
  void check_sources(const Op& op);
  void save_pcs(uint32_t lanes, uint32_t pc);
  void regroup();
  void settle();
  void fill_constants();

  Block& block_;
  const Program& program_;
  const int index_;
  std::vector<std::byte> storage_;
  struct {
    std::byte* begin = nullptr;
    std::byte* data() const { return begin; }
  } registers_;
  std::vector<uint32_t> written_;
  LocalMemory local_;
  AsyncCopies async_copies_;
  SyncOrder order_;

  State state_ = State::Ready;
  uint32_t live_ = 0, active_ = 0, mask_ = 0;
  uint32_t parked_ = 0;      // lanes that wait for others, at a barrier or a warp-wide instruction
  uint32_t at_barrier_ = 0;  // of those, the ones at a barrier
  uint32_t pc_ = 0, next_pc_ = 0;
  uint32_t join_pc_ = UINT32_MAX;  // the lowest pc of lanes that are neither active nor parked
  bool regroups_ = false;          // an instruction has saved pcs: active lanes have to be chosen anew
  std::array<uint32_t, kLanes> lane_pcs_{};
  uint64_t num_instructions_ = 0;
};

inline int first_lane(uint32_t mask) {
  return std::countr_zero(mask);
}

/// Calls `visit(lane)` for each lane of `mask`.
template <class Visit>
inline void for_lanes(uint32_t mask, Visit visit) {
  for (; mask != 0; mask &= mask - 1) visit(std::countr_zero(mask));
}

}  // namespace triptych::emulator::ptx
