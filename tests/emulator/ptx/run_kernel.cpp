#include <algorithm>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "emulator/ptx/block.h"
#include "emulator/ptx/coverage.h"
#include "emulator/ptx/engine.h"
#include "emulator/ptx/global_accesses.h"
#include "emulator/ptx/kernel_code.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

constexpr std::size_t kMaxSharedBytes = 227 << 10, kDefaultSharedBytes = 48 << 10;
constexpr uint64_t kMaxBlockThreads = 1024;
constexpr std::array<uint32_t, 3> kMaxBlock{1024, 1024, 64}, kMaxGrid{0x7FFFFFFF, 65535, 65535};
// Blocks that take turns at a time.
constexpr std::size_t kResidentBlocks = 2;

void check_limits(const Module::Kernel& kernel, const ptx::Program& program, const Launch& launch) {
  const auto refuse = [&](const std::string& problem) {
    report("launch-limit", fmt::format("[{}] {}", program.name, problem));
  };
  const auto& block = launch.block;
  const auto& grid = launch.grid;
  const uint64_t threads = uint64_t{block[0]} * block[1] * block[2];
  for (std::size_t i = 0; i < 3; ++i) {
    if (block[i] >= 1 && block[i] <= kMaxBlock[i] && grid[i] >= 1 && grid[i] <= kMaxGrid[i]) continue;
    refuse(
        fmt::format("a block has 1 to (1024, 1024, 64) threads and a grid 1 to (2^31 - 1, 65535, 65535) blocks, found "
                    "({}, {}, {}) and ({}, {}, {}). Launch within these.",
                    block[0], block[1], block[2], grid[0], grid[1], grid[2]));
  }
  const uint64_t allowed = std::min<uint64_t>(kMaxBlockThreads, static_cast<uint64_t>(kernel.max_threads));
  if (threads > allowed) {
    refuse(fmt::format("a block may have {} threads, found {}. Launch fewer, or change __launch_bounds__.", allowed,
                       threads));
  }
  const std::size_t shared = program.static_shared_bytes + launch.dynamic_shared_bytes;
  const std::size_t limit = std::min(std::max(launch.max_dynamic_shared_bytes, kDefaultSharedBytes), kMaxSharedBytes);
  if (launch.dynamic_shared_bytes > launch.max_dynamic_shared_bytes || shared > limit) {
    refuse(fmt::format(
        "shared memory of a block must fit {} bytes, found {} static and {} dynamic. Use less, or raise the "
        "limit with cudaFuncSetAttribute.",
        limit, program.static_shared_bytes, launch.dynamic_shared_bytes));
  }
  if (program.static_shared_bytes > kDefaultSharedBytes) {
    refuse(fmt::format("static shared memory may have {} bytes, found {}.", kDefaultSharedBytes,
                       program.static_shared_bytes));
  }
  if (launch.parameters.size() != kernel.parameter_bytes) {
    report("bad-argument", fmt::format("[{}] takes {} bytes of parameters, found {}.", program.name,
                                       kernel.parameter_bytes, launch.parameters.size()));
  }
}

std::vector<uint32_t> shuffled_blocks(ptx::LaunchState& state, uint32_t num_blocks) {
  std::vector<uint32_t> order(num_blocks);
  std::iota(order.begin(), order.end(), 0U);
  for (uint32_t i = num_blocks; i > 1; --i) std::swap(order[i - 1], order[state.random() % i]);
  return order;
}

void count_coverage(const ptx::Program& program, const std::vector<uint64_t>& executions) {
  std::vector<uint64_t> by_index;
  for (std::size_t pc = 0; pc < executions.size(); ++pc) {
    const uint32_t index = program.origins[pc].opcode;
    if (index >= by_index.size()) by_index.resize(index + 1);
    by_index[index] += executions[pc];
  }
  ptx::add_coverage(by_index);
}

}  // namespace

LaunchResult run_kernel(const Module::Kernel& kernel, const Launch& launch, DeviceMemory& memory) {
  const ptx::Program& program = kernel.code->program();
  check_limits(kernel, program, launch);
  const uint64_t num_blocks = uint64_t{launch.grid[0]} * launch.grid[1] * launch.grid[2];
  if (num_blocks > std::numeric_limits<uint32_t>::max()) {
    report("unsupported", fmt::format("[{}] a grid of {} blocks.", program.name, num_blocks));
  }

  ptx::LaunchState* describing = nullptr;
  ptx::LaunchAccesses accesses(memory, static_cast<uint32_t>(num_blocks), program.name,
                               [&describing](uint32_t pc) { return describing->describe_line(pc); });
  ptx::LaunchState state{program, launch, memory, accesses, std::vector<uint64_t>(program.ops.size())};
  describing = &state;
  state.random_state = launch.seed;

  const std::vector<uint32_t> order = shuffled_blocks(state, static_cast<uint32_t>(num_blocks));
  struct Slot {
    ptx::SharedMemory shared;
    ptx::ThreadAccesses threads;
    std::unique_ptr<ptx::Block> block;
  };
  std::vector<std::unique_ptr<Slot>> slots;
  for (std::size_t i = 0; i < std::min<std::size_t>(kResidentBlocks, num_blocks); ++i) {
    slots.push_back(std::make_unique<Slot>(Slot{ptx::SharedMemory(program, launch.dynamic_shared_bytes), {}, nullptr}));
  }
  for (std::size_t next = 0; !slots.empty();) {
    const std::size_t turn = state.random() % slots.size();
    Slot& slot = *slots[turn];
    if (slot.block == nullptr && next < order.size()) {
      slot.block = std::make_unique<ptx::Block>(state, order[next++], slot.shared, slot.threads);
    }
    if (slot.block == nullptr) {
      slots.erase(slots.begin() + static_cast<std::ptrdiff_t>(turn));
    } else if (!slot.block->turn()) {
      slot.block.reset();
    }
  }

  state.report_undefined();
  count_coverage(program, state.executions);
  LaunchResult result;
  result.reads = accesses.reads();
  result.writes = accesses.writes();
  result.bytes_loaded = state.bytes_loaded;
  result.bytes_stored = state.bytes_stored;
  result.num_instructions = state.num_instructions;
  return result;
}

}  // namespace triptych::emulator
