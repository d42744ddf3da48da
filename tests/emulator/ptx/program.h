#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "emulator/ptx/syntax.h"

namespace triptych::emulator::ptx {

class Warp;
struct Op;
using Execute = void (*)(Warp&, const Op&);

inline constexpr int kLanes = 32;
inline constexpr uint32_t kAllLanes = 0xFFFFFFFF;

/// Where a register (or an immediate, which becomes a register that is written once) lies in a warp's register file:
/// its values of 32 lanes one after the other, or for a predicate one mask.
struct Operand {
  uint32_t offset = 0;  ///< bytes
  uint32_t index = 0;   ///< of its mask of lanes that have been written
  uint8_t bytes = 0;    ///< of one lane; 0 for a predicate
};

/// One instruction, ready to run.
struct Op {
  Execute run = nullptr;
  const Operand* operands = nullptr;  ///< results, then sources
  uint8_t num_results = 0, num_sources = 0;
  bool is_guarded = false, guard_negated = false;
  /// Whether the loop checks that sources have been written and marks the results. Moves do both themselves, since
  /// they may carry undefined values along.
  bool checks_operands = true;
  Operand guard;

  // What the rest means is up to `run`.
  Space space = Space::Generic;
  uint8_t bytes = 0;  ///< of one element in memory
  uint8_t count = 1;  ///< elements in memory
  bool is_signed = false;
  uint8_t mode = 0;
  uint32_t target = 0;  ///< of a branch; index of a branch table or call
  int64_t offset = 0;   ///< added to an address

  const Operand& result(int i = 0) const { return operands[i]; }
  const Operand& source(int i) const { return operands[num_results + i]; }
};

/// Where an Op comes from, for diagnoses.
struct Origin {
  const Statement* statement = nullptr;
  uint32_t opcode = 0;  ///< index in the coverage table
};

struct Call {
  uint32_t target = 0;
  Operand return_address;
  struct Copy {
    uint32_t to = 0, from = 0, bytes = 0;  ///< offsets in local memory
  };
  std::vector<Copy> arguments, results;
};

enum class SpecialRegister : uint8_t {
  TidX,
  TidY,
  TidZ,
  NtidX,
  NtidY,
  NtidZ,
  CtaidX,
  CtaidY,
  CtaidZ,
  NctaidX,
  NctaidY,
  NctaidZ,
  LaneId,
  WarpId,
  NumWarps,
  SmId,
  NumSms,
  GridId,
  LanemaskEq,
  LanemaskLt,
  LanemaskLe,
  LanemaskGt,
  LanemaskGe,
  WarpSize,
  DynamicShared,
  TotalShared
};

/// A kernel with the functions that it calls, which come before it: then lanes inside of a call have the lowest pc and
/// return before the others go on.
struct Program {
  std::shared_ptr<const Text> text;
  std::map<std::string, Function> functions;  ///< the kernel and what it calls, which `origins` point into
  std::string name;                           ///< demangled
  uint32_t entry = 0;
  std::vector<Op> ops;
  std::vector<Origin> origins;
  std::vector<Operand> operands;
  std::vector<std::vector<uint32_t>> branch_tables;
  std::vector<Call> calls;

  uint32_t register_bytes = 0, num_registers = 0;
  struct Constant {
    Operand operand;
    uint64_t bits = 0;
  };
  std::vector<Constant> constants;
  struct Special {
    Operand operand;
    SpecialRegister which = SpecialRegister::TidX;
  };
  std::vector<Special> specials;

  struct Range {
    uint32_t begin = 0, end = 0;
    std::string name;
  };
  uint32_t local_bytes = 0;  ///< of one thread, with gaps between variables
  std::vector<Range> local_ranges;
  std::vector<Range> shared_ranges;  ///< of static variables; gaps lie between
  uint32_t dynamic_shared_begin = 0;
  std::size_t static_shared_bytes = 0;
  std::vector<std::byte> constant_bank, global_bank;  ///< `.const` and `.global` variables of the module
};

/// Generic addresses of the spaces that are not global memory, where no pointer of the host or the device can lie.
inline constexpr uint64_t kWindowBytes = uint64_t{1} << 32;
inline constexpr uint64_t kSharedWindow = uint64_t{1} << 56, kLocalWindow = uint64_t{2} << 56,
                          kParamWindow = uint64_t{3} << 56, kConstWindow = uint64_t{4} << 56,
                          kModuleWindow = uint64_t{5} << 56;  ///< `.global` variables of the module: read only
/// The first shared variable's address: what lies below is out of bounds, as on hardware that reserves it.
inline constexpr uint32_t kSharedBegin = 1024;

/// Decodes a kernel and what it calls. Throws Violation `unknown-opcode` or `unsupported`, naming the line.
std::shared_ptr<const Program> decode(std::shared_ptr<const Text> text, const Function& kernel);

}  // namespace triptych::emulator::ptx
