#include "emulator/ptx/warp.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "emulator/ptx/block.h"
#include "emulator/ptx/ops_barrier.h"
#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

uint32_t special_value(SpecialRegister which, const Block& block, const Launch& launch, const Program& program,
                       int warp, int lane) {
  const auto thread = block.thread_index(warp * kLanes + lane);
  const auto shared = static_cast<uint32_t>(launch.dynamic_shared_bytes);
  switch (which) {
    case SpecialRegister::TidX:
      return thread[0];
    case SpecialRegister::TidY:
      return thread[1];
    case SpecialRegister::TidZ:
      return thread[2];
    case SpecialRegister::NtidX:
      return launch.block[0];
    case SpecialRegister::NtidY:
      return launch.block[1];
    case SpecialRegister::NtidZ:
      return launch.block[2];
    case SpecialRegister::CtaidX:
      return block.index()[0];
    case SpecialRegister::CtaidY:
      return block.index()[1];
    case SpecialRegister::CtaidZ:
      return block.index()[2];
    case SpecialRegister::NctaidX:
      return launch.grid[0];
    case SpecialRegister::NctaidY:
      return launch.grid[1];
    case SpecialRegister::NctaidZ:
      return launch.grid[2];
    case SpecialRegister::LaneId:
      return static_cast<uint32_t>(lane);
    case SpecialRegister::WarpId:
      return static_cast<uint32_t>(warp);
    case SpecialRegister::NumWarps:
      return static_cast<uint32_t>((block.num_threads() + kLanes - 1) / kLanes);
    case SpecialRegister::SmId:
      return 0;
    case SpecialRegister::NumSms:
      return 1;
    case SpecialRegister::GridId:
      return 1;
    case SpecialRegister::LanemaskEq:
      return 1U << lane;
    case SpecialRegister::LanemaskLt:
      return (1U << lane) - 1;
    case SpecialRegister::LanemaskLe:
      return (2U << lane) - 1;
    case SpecialRegister::LanemaskGt:
      return ~((2U << lane) - 1);
    case SpecialRegister::LanemaskGe:
      return ~((1U << lane) - 1);
    case SpecialRegister::WarpSize:
      return kLanes;
    case SpecialRegister::DynamicShared:
      return shared;
    case SpecialRegister::TotalShared:
      return shared + static_cast<uint32_t>(program.static_shared_bytes);
  }
  return 0;
}

constexpr std::size_t kRegisterAlignment = 64;

}  // namespace

Warp::Warp(Block& block, int index, int num_threads)
    : block_(block),
      program_(block.state().program),
      index_(index),
      storage_(program_.register_bytes + kRegisterAlignment),
      written_(program_.num_registers),
      local_(program_),
      live_(num_threads == kLanes ? kAllLanes : (1U << num_threads) - 1),
      active_(live_),
      pc_(program_.entry) {
  const auto address = reinterpret_cast<uintptr_t>(storage_.data());
  registers_.begin = storage_.data() + (kRegisterAlignment - address % kRegisterAlignment) % kRegisterAlignment;
  fill_constants();
}

void Warp::fill_constants() {
  for (const Program::Constant& constant : program_.constants) {
    written(constant.operand) = kAllLanes;
    switch (constant.operand.bytes) {
      case 0:
        predicate(constant.operand) = static_cast<uint32_t>(constant.bits);
        break;
      case 1:
        std::fill_n(lanes<uint8_t>(constant.operand), kLanes, static_cast<uint8_t>(constant.bits));
        break;
      case 2:
        std::fill_n(lanes<uint16_t>(constant.operand), kLanes, static_cast<uint16_t>(constant.bits));
        break;
      case 4:
        std::fill_n(lanes<uint32_t>(constant.operand), kLanes, static_cast<uint32_t>(constant.bits));
        break;
      default:
        std::fill_n(lanes<uint64_t>(constant.operand), kLanes, constant.bits);
        break;
    }
  }
  for (const Program::Special& special : program_.specials) {
    written(special.operand) = kAllLanes;
    for (int lane = 0; lane < kLanes; ++lane) {
      const uint32_t value = special_value(special.which, block_, block_.state().launch, program_, index_, lane);
      if (special.operand.bytes == 8) {
        lanes<uint64_t>(special.operand)[lane] = value;
      } else {
        lanes<uint32_t>(special.operand)[lane] = value;
      }
    }
  }
}

Warp::State Warp::run(uint32_t budget) {
  uint64_t* executions = block_.state().executions.data();
  for (; budget > 0; --budget) {
    if (pc_ >= join_pc_ || parked_ != 0) {
      save_pcs(active_, pc_);
      regroup();
      if (state_ != State::Ready) break;
    }
    const Op& op = program_.ops[pc_];
    mask_ = active_;
    if (op.is_guarded) {
      require_written(op.guard, active_);
      const uint32_t value = predicate(op.guard);
      mask_ &= op.guard_negated ? ~value : value;
      if (mask_ == 0) {
        ++pc_;
        continue;
      }
    }
    ++num_instructions_;
    ++executions[pc_];
    step(op);
    if (state_ != State::Ready) break;
  }
  return state_;
}

inline void Warp::step(const Op& op) {
  next_pc_ = pc_ + 1;
  if (op.checks_operands) {
    check_sources(op);
    const uint32_t mask = mask_;
    op.run(*this, op);
    for (int i = 0; i < op.num_results; ++i) written_[op.operands[i].index] |= mask;
  } else {
    op.run(*this, op);
  }
  if (regroups_) {
    regroups_ = false;
    regroup();
  } else {
    pc_ = next_pc_;
  }
}

inline void Warp::check_sources(const Op& op) {
  for (int i = 0; i < op.num_sources; ++i) {
    if ((mask_ & ~written_[op.source(i).index]) != 0) require_written(op.source(i), mask_);
  }
}

void Warp::require_written(const Operand& operand, uint32_t lanes) {
  const uint32_t missing = lanes & ~written_[operand.index];
  if (missing == 0) return;
  fail("uninitialised-read", first_lane(missing),
       "reads a register that it has never written: the value is undefined. Initialise the variable on every path.");
}

void Warp::save_pcs(uint32_t lanes, uint32_t pc) {
  for_lanes(lanes, [&](int lane) { lane_pcs_[static_cast<unsigned>(lane)] = pc; });
}

void Warp::branch(uint32_t taken, uint32_t target) {
  if (taken == active_) return jump(target);
  save_pcs(active_, pc_ + 1);
  save_pcs(taken, target);
  regroups_ = true;
}

void Warp::branch(const std::array<uint32_t, kLanes>& targets) {
  save_pcs(active_ & ~mask_, pc_ + 1);
  for_lanes(mask_, [&](int lane) { lane_pcs_[static_cast<unsigned>(lane)] = targets[static_cast<unsigned>(lane)]; });
  regroups_ = true;
}

void Warp::exit(uint32_t lanes) {
  live_ &= ~lanes;
  save_pcs(active_, pc_ + 1);
  regroups_ = true;
}

void Warp::arrive_at_barrier() {
  save_pcs(active_, pc_ + 1);
  save_pcs(mask_, pc_);
  parked_ |= mask_;
  at_barrier_ |= mask_;
  regroups_ = true;
}

bool Warp::gather(uint32_t member) {
  const uint32_t missing = member & live_ & ~mask_;
  if (missing == 0) return true;
  if ((missing & active_) != 0) {
    fail("divergent-shuffle", first_lane(missing & active_),
         fmt::format(
             "is named by the mask {:#010x} of an instruction that its condition makes it skip. Name exactly the "
             "lanes that execute it.",
             member));
  }
  save_pcs(active_, pc_);
  parked_ |= active_;
  regroups_ = true;
  return false;
}

// Chooses the lanes that run next by their saved pcs: the lowest of those that do not wait for others.
void Warp::regroup() {
  const uint32_t candidates = live_ & ~parked_;
  if (candidates == 0) return settle();
  pc_ = UINT32_MAX;
  for_lanes(candidates, [&](int lane) { pc_ = std::min(pc_, lane_pcs_[static_cast<unsigned>(lane)]); });
  active_ = 0;
  join_pc_ = UINT32_MAX;
  for_lanes(live_ & ~at_barrier_, [&](int lane) {
    const uint32_t pc = lane_pcs_[static_cast<unsigned>(lane)];
    const uint32_t bit = 1U << lane;
    if (pc == pc_) {
      active_ |= bit;  // lanes that waited here try again, now with more
      parked_ &= ~bit;
    } else if ((candidates & bit) != 0) {
      join_pc_ = std::min(join_pc_, pc);
    }
  });
}

// No lane can go on by itself: all have exited, or all wait, which is well only at one barrier.
void Warp::settle() {
  active_ = 0;
  join_pc_ = UINT32_MAX;
  if (live_ == 0) {
    state_ = State::Done;
    return;
  }
  int first = first_lane(live_);
  bool together = at_barrier_ == live_;
  for_lanes(live_, [&](int lane) {
    const uint32_t pc = lane_pcs_[static_cast<unsigned>(lane)], lowest = lane_pcs_[static_cast<unsigned>(first)];
    together &= pc == lowest;
    if (pc < lowest) first = lane;
  });
  pc_ = lane_pcs_[static_cast<unsigned>(first)];
  if (together) {
    state_ = State::AtBarrier;
    return;
  }
  const bool is_barrier = ((at_barrier_ >> first) & 1) != 0;
  int other = first;  // a lane that is elsewhere
  for_lanes(live_, [&](int lane) {
    if (lane_pcs_[static_cast<unsigned>(lane)] != pc_) other = lane;
  });
  fail(is_barrier ? "divergent-barrier" : "divergent-shuffle", first,
       fmt::format("waits for lanes of its warp that never come: thread {} is at {}. {}", thread(other),
                   describe_line(lane_pcs_[static_cast<unsigned>(other)]),
                   is_barrier ? "All threads must pass the barrier." : "Name exactly the lanes that execute it."));
}

void Warp::pass_barrier() {
  finish_barrier_reduction(*this, program_.ops[pc_], live_);
  save_pcs(live_, pc_ + 1);
  parked_ = at_barrier_ = 0;
  order_.synchronise_all();
  state_ = State::Ready;
  regroup();
}

std::string Warp::describe_line(uint32_t pc) const {
  return block_.state().describe_line(pc);
}

std::string Warp::describe_problem(int lane, const std::string& problem) const {
  const auto& b = block_.index();
  const auto t = block_.thread_index(thread(lane));
  return fmt::format("[{}] block ({}, {}, {}), thread ({}, {}, {}) {} At {}.", program_.name, b[0], b[1], b[2], t[0],
                     t[1], t[2], problem, describe_line(pc_));
}

void Warp::fail(std::string_view name, int lane, const std::string& problem) const {
  if (name != "shared-race" && name != "global-race") block_.report_undefined();
  report(name, describe_problem(lane, problem));
}

}  // namespace triptych::emulator::ptx
