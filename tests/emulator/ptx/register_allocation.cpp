#include "emulator/ptx/register_allocation.h"

#include <algorithm>
#include <functional>
#include <map>
#include <queue>
#include <utility>

namespace triptych::emulator::ptx {
namespace {

using Set = std::vector<uint64_t>;

bool contains(const Set& set, uint32_t i) {
  return (set[i / 64] >> (i % 64) & 1) != 0;
}
void insert(Set& set, uint32_t i) {
  set[i / 64] |= uint64_t{1} << (i % 64);
}

struct BasicBlock {
  uint32_t begin = 0, end = 0;  // pcs
  std::vector<uint32_t> successors;
  Set used, assigned, live_in, live_out;
};

// The pcs between which a register holds a value that is still needed.
struct Interval {
  uint32_t reg = 0, begin = UINT32_MAX, end = 0;
  void cover(uint32_t pc) {
    begin = std::min(begin, pc);
    end = std::max(end, pc);
  }
};

class Allocator {
 public:
  Allocator(Program& program, const std::vector<Flow>& flow, const std::vector<uint32_t>& functions)
      : program_(program), flow_(flow), functions_(functions) {
    bytes_.resize(program.num_registers);
    pinned_.resize(program.num_registers);
    for (const Operand& operand : program.operands) bytes_[operand.index] = operand.bytes;
    for (const Op& op : program.ops) {
      if (op.is_guarded) bytes_[op.guard.index] = op.guard.bytes;
    }
    for (const auto& constant : program.constants) pin(constant.operand);
    for (const auto& special : program.specials) pin(special.operand);
    for (const Call& call : program.calls) pin(call.return_address);
  }

  void run() {
    find_blocks();
    find_liveness();
    find_intervals();
    assign();
    rewrite();
  }

 private:
  void pin(const Operand& operand) {
    bytes_[operand.index] = operand.bytes;
    pinned_[operand.index] = true;
  }

  void find_blocks() {
    const auto num_ops = static_cast<uint32_t>(program_.ops.size());
    std::vector<bool> leads(num_ops + 1);
    for (const uint32_t begin : functions_) leads[begin] = true;
    for (uint32_t pc = 0; pc < num_ops; ++pc) {
      if (flow_[pc] == Flow::Next) continue;
      leads[pc + 1] = true;
      for (const uint32_t target : targets(pc)) leads[target] = true;
    }
    std::map<uint32_t, uint32_t> block_at;
    for (uint32_t pc = 0; pc < num_ops; ++pc) {
      if (leads[pc]) {
        block_at[pc] = static_cast<uint32_t>(blocks_.size());
        blocks_.push_back({pc, pc, {}, {}, {}, {}, {}});
      }
      blocks_.back().end = pc + 1;
    }
    for (BasicBlock& block : blocks_) {
      const uint32_t last = block.end - 1;
      for (const uint32_t target : targets(last)) block.successors.push_back(block_at.at(target));
      const bool goes_on = flow_[last] == Flow::Next || program_.ops[last].is_guarded;
      if (goes_on && block.end < num_ops) block.successors.push_back(block_at.at(block.end));
    }
  }

  std::vector<uint32_t> targets(uint32_t pc) const {
    const Op& op = program_.ops[pc];
    if (flow_[pc] == Flow::Jump) return {op.target};
    if (flow_[pc] == Flow::Table) return program_.branch_tables[op.target];
    return {};
  }

  template <class Visit>
  static void for_uses(const Op& op, Visit visit) {
    for (int i = 0; i < op.num_sources; ++i) visit(op.source(i).index);
    if (op.is_guarded) visit(op.guard.index);
  }

  void find_liveness() {
    const std::size_t words = program_.num_registers / 64 + 1;
    for (BasicBlock& block : blocks_) {
      block.used = block.assigned = block.live_in = block.live_out = Set(words);
      for (uint32_t pc = block.begin; pc < block.end; ++pc) {
        const Op& op = program_.ops[pc];
        for_uses(op, [&](uint32_t reg) {
          if (!contains(block.assigned, reg)) insert(block.used, reg);
        });
        if (op.is_guarded) continue;  // other lanes keep what they had
        for (int i = 0; i < op.num_results; ++i) insert(block.assigned, op.result(i).index);
      }
      block.live_in = block.used;
    }
    for (bool changes = true; changes;) {
      changes = false;
      for (auto block = blocks_.rbegin(); block != blocks_.rend(); ++block) {
        for (const uint32_t successor : block->successors) {
          const Set& next = blocks_[successor].live_in;
          for (std::size_t word = 0; word < words; ++word) block->live_out[word] |= next[word];
        }
        for (std::size_t word = 0; word < words; ++word) {
          const uint64_t live = block->used[word] | (block->live_out[word] & ~block->assigned[word]);
          changes |= live != block->live_in[word];
          block->live_in[word] = live;
        }
      }
    }
  }

  void find_intervals() {
    intervals_.resize(program_.num_registers);
    for (const BasicBlock& block : blocks_) {
      const bool is_entry = std::binary_search(functions_.begin(), functions_.end(), block.begin);
      for (uint32_t reg = 0; reg < program_.num_registers; ++reg) {
        if (contains(block.live_in, reg)) {
          intervals_[reg].cover(block.begin);
          if (is_entry) pinned_[reg] = true;  // read on some path without being written
        }
        if (contains(block.live_out, reg)) intervals_[reg].cover(block.end);
      }
      for (uint32_t pc = block.begin; pc < block.end; ++pc) {
        const Op& op = program_.ops[pc];
        for_uses(op, [&](uint32_t reg) { intervals_[reg].cover(pc); });
        for (int i = 0; i < op.num_results; ++i) intervals_[op.result(i).index].cover(pc);
      }
    }
  }

  // Linear scan: a place is free again once its interval has ended.
  void assign() {
    places_.resize(program_.num_registers);
    for (uint32_t reg = 0; reg < program_.num_registers; ++reg) {
      intervals_[reg].reg = reg;
      if (pinned_[reg]) places_[reg] = new_place(bytes_[reg]);
    }
    std::vector<Interval> order;
    for (const Interval& interval : intervals_) {
      if (!pinned_[interval.reg] && interval.begin != UINT32_MAX) order.push_back(interval);
    }
    std::sort(order.begin(), order.end(), [](const Interval& a, const Interval& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.reg < b.reg;
    });
    using Ending = std::pair<uint32_t, uint32_t>;  // pc, register
    std::priority_queue<Ending, std::vector<Ending>, std::greater<>> active;
    std::map<int, std::vector<uint32_t>> free_places;
    auto function = functions_.begin();
    for (const Interval& interval : order) {
      for (; function != functions_.end() && *function <= interval.begin; ++function) {
        free_places.clear();
        active = {};
      }
      for (; !active.empty() && active.top().first < interval.begin; active.pop()) {
        const uint32_t reg = active.top().second;
        free_places[bytes_[reg]].push_back(places_[reg]);
      }
      std::vector<uint32_t>& free = free_places[bytes_[interval.reg]];
      if (free.empty()) {
        places_[interval.reg] = new_place(bytes_[interval.reg]);
      } else {
        places_[interval.reg] = free.back();
        free.pop_back();
      }
      active.emplace(interval.end, interval.reg);
    }
  }

  uint32_t new_place(int bytes) {
    widths_.push_back(bytes);
    return static_cast<uint32_t>(widths_.size()) - 1;
  }

  // Vectors first: they are then aligned to 64 bytes.
  void rewrite() {
    std::vector<uint32_t> offsets(widths_.size());
    uint32_t end = 0;
    for (const bool predicates : {false, true}) {
      for (std::size_t place = 0; place < widths_.size(); ++place) {
        if ((widths_[place] == 0) != predicates) continue;
        offsets[place] = end;
        end += predicates ? 4U : static_cast<uint32_t>(std::max(widths_[place] * kLanes, 64));
      }
    }
    const auto move = [&](Operand& operand) {
      const uint32_t place = places_[operand.index];
      operand.offset = offsets[place];
      operand.index = place;
    };
    for (Operand& operand : program_.operands) move(operand);
    for (Op& op : program_.ops) {
      if (op.is_guarded) move(op.guard);
    }
    for (auto& constant : program_.constants) move(constant.operand);
    for (auto& special : program_.specials) move(special.operand);
    for (Call& call : program_.calls) move(call.return_address);
    program_.register_bytes = end;
    program_.num_registers = static_cast<uint32_t>(widths_.size());
  }

  Program& program_;
  const std::vector<Flow>& flow_;
  const std::vector<uint32_t>& functions_;
  std::vector<int> bytes_;
  std::vector<bool> pinned_;
  std::vector<BasicBlock> blocks_;
  std::vector<Interval> intervals_;
  std::vector<uint32_t> places_;  // by register
  std::vector<int> widths_;       // by place
};

}  // namespace

void allocate_registers(Program& program, const std::vector<Flow>& flow, const std::vector<uint32_t>& functions) {
  Allocator(program, flow, functions).run();
}

}  // namespace triptych::emulator::ptx
