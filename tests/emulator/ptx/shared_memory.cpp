#include "emulator/ptx/shared_memory.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "emulator/ptx/warp.h"
#include "emulator/violation.h"

namespace triptych::emulator::ptx {
namespace {

constexpr unsigned kWord = 4;
constexpr std::array<uint8_t, 2> kPoison{0xFB, 0x7F};  // as in device memory

bool all_are(const uint8_t* states, unsigned size, uint8_t state) {
  if (size == kWord) {
    uint32_t four = 0;
    std::memcpy(&four, states, kWord);
    return four == state * 0x01010101U;
  }
  return std::all_of(states, states + size, [state](uint8_t s) { return s == state; });
}

}  // namespace

SharedMemory::SharedMemory(const Program& program, std::size_t dynamic_bytes)
    : program_(program),
      dynamic_bytes_(dynamic_bytes),
      size_(program.dynamic_shared_begin + static_cast<uint32_t>((dynamic_bytes + kWord - 1) / kWord * kWord)),
      bytes_(size_),
      states_(size_, OutOfBounds),
      words_(size_ / kWord),
      split_index_(size_ / kWord),
      split_words_(1) {
  begin_block();
}

void SharedMemory::begin_block() {
  ++epoch_;  // makes all that is known about accesses old
  undefined_read_.clear();
  for (std::size_t i = 0; i < size_; ++i) bytes_[i] = std::byte{kPoison[i % 2]};
  for (const Program::Range& range : program_.shared_ranges) {
    std::memset(states_.data() + range.begin, Undefined, range.end - range.begin);
  }
  std::memset(states_.data() + program_.dynamic_shared_begin, Undefined, dynamic_bytes_);
}

const std::byte* SharedMemory::read(Warp& warp, int lane, uint64_t address, unsigned size) {
  require_inside(warp, lane, address, size, "reads");
  track(warp, lane, static_cast<uint32_t>(address), size, Access::Read, nullptr);
  if (!all_are(states_.data() + address, size, Defined)) note_undefined(warp, lane, address, size, "reads");
  return bytes_.data() + address;
}

void SharedMemory::note_undefined(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb) {
  const uint8_t* states = states_.data() + address;
  if (std::find(states, states + size, InFlight) != states + size) {
    warp.fail(
        "uninitialised-read", lane,
        fmt::format("{} {} bytes of shared memory, {}, that a cp.async has not delivered yet. Wait for its group, then "
                    "synchronise.",
                    verb, size, where(address)));
  }
  if (!undefined_read_.empty()) return;
  undefined_read_ = warp.describe_problem(
      lane, fmt::format("{} {} bytes of shared memory, {}, that nothing has written. Write them first.", verb, size,
                        where(address)));
}

void SharedMemory::report_undefined() const {
  if (!undefined_read_.empty()) report("uninitialised-read", undefined_read_);
}

void SharedMemory::barrier() {
  report_undefined();
  ++epoch_;
}

void SharedMemory::write(Warp& warp, int lane, uint64_t address, unsigned size, const std::byte* value) {
  require_inside(warp, lane, address, size, "writes");
  track(warp, lane, static_cast<uint32_t>(address), size, Access::Write, value);
  std::memcpy(bytes_.data() + address, value, size);
  std::memset(states_.data() + address, Defined, size);
}

std::byte* SharedMemory::atomic(Warp& warp, int lane, uint64_t address, unsigned size) {
  require_inside(warp, lane, address, size, "updates");
  track(warp, lane, static_cast<uint32_t>(address), size, Access::Atomic, nullptr);
  if (!all_are(states_.data() + address, size, Defined)) note_undefined(warp, lane, address, size, "updates");
  return bytes_.data() + address;
}

void SharedMemory::begin_copy(Warp& warp, int lane, uint64_t address, unsigned size) {
  std::array<std::byte, 16> poison{};
  for (std::size_t i = 0; i < poison.size(); ++i) poison[i] = std::byte{kPoison[i % 2]};
  write(warp, lane, address, size, poison.data());
  std::memset(states_.data() + address, InFlight, size);
}

void SharedMemory::end_copy(Warp& warp, int lane, uint64_t address, unsigned size, const std::byte* value) {
  write(warp, lane, address, size, value);
}

void SharedMemory::require_inside(Warp& warp, int lane, uint64_t address, unsigned size, const char* verb) const {
  if (address < size_ && size <= size_ - address) {
    const uint8_t* states = states_.data() + address;
    if (all_are(states, size, Defined)) return;
    if (std::find(states, states + size, OutOfBounds) == states + size) return;
  }
  warp.fail("out-of-bounds", lane,
            fmt::format("{} {} bytes of shared memory, {}. Stay inside of the variable.", verb, size, where(address)));
}

std::string SharedMemory::where(uint64_t address) const {
  std::string nearest = fmt::format("at {:#x}", address);
  for (const Program::Range& range : program_.shared_ranges) {
    if (address < range.begin) continue;
    nearest = address < range.end
                  ? fmt::format("byte {} of {} ({} bytes)", address - range.begin, range.name, range.end - range.begin)
                  : fmt::format("{} bytes past the end of {} ({} bytes)", address - range.end, range.name,
                                range.end - range.begin);
  }
  if (address < program_.dynamic_shared_begin || states_.size() == program_.dynamic_shared_begin) return nearest;
  return fmt::format("byte {} of the dynamic shared memory ({} bytes)", address - program_.dynamic_shared_begin,
                     std::count_if(states_.begin() + program_.dynamic_shared_begin, states_.end(),
                                   [](uint8_t state) { return state != OutOfBounds; }));
}

std::array<SharedMemory::Cell, 4>& SharedMemory::split(uint32_t word) {
  uint32_t& index = split_index_[word];
  if (index == 0) {
    index = static_cast<uint32_t>(split_words_.size());
    const Cell& whole = words_[word];
    split_words_.push_back({whole, whole, whole, whole});
  }
  return split_words_[index];
}

void SharedMemory::track(Warp& warp, int lane, uint32_t address, unsigned size, Access access, const std::byte* value) {
  if (size == kWord && split_index_[address / kWord] == 0) {
    return track_cell(warp, lane, address, kWord, words_[address / kWord], access, value);
  }
  const uint32_t end = address + size;
  while (address < end) {
    const uint32_t word = address / kWord;
    const unsigned part = std::min(end, (word + 1) * kWord) - address;
    if (part == kWord && split_index_[word] == 0) {
      track_cell(warp, lane, address, kWord, words_[word], access, value);
    } else {
      auto& cells = split(word);
      for (unsigned i = 0; i < part; ++i) {
        track_cell(warp, lane, address + i, 1, cells[(address + i) % kWord], access,
                   value == nullptr ? nullptr : value + i);
      }
    }
    address += part;
    if (value != nullptr) value += part;
  }
}

void SharedMemory::track_cell(Warp& warp, int lane, uint32_t address, unsigned size, Cell& cell, Access access,
                              const std::byte* value) {
  const int thread = warp.thread(lane);
  const bool writes = access != Access::Read;
  const auto instruction = static_cast<uint32_t>(warp.num_instructions());

  if (cell.write_epoch == epoch_ && (cell.write_thread != thread || cell.several_writers)) {
    const int writer = cell.write_thread;
    const bool both_atomic = access == Access::Atomic && cell.atomic_write;
    const bool same_warp = writer / kLanes == warp.index();
    bool ordered = both_atomic;
    if (!ordered && same_warp && !cell.several_writers) {
      const bool same_instruction = access == Access::Write && cell.write_instruction == instruction;
      ordered = same_instruction ? std::memcmp(bytes_.data() + address, value, size) == 0
                                 : warp.order().ordered(writer % kLanes, cell.write_stamp, lane);
    }
    if (!ordered) race(warp, lane, address, access, true, writer, cell.write_pc);
  }
  if (!writes) return record_read(warp, lane, cell);

  if (cell.read_epoch == epoch_) {
    const int reader_warp = cell.read_warp;
    if (reader_warp != warp.index()) {
      race(warp, lane, address, access, false, reader_warp * kLanes + first_lane(cell.readers), cell.read_pc);
    }
    if (cell.several_warps_read) race(warp, lane, address, access, false, cell.other_reader, cell.read_pc);
    for_lanes(cell.readers & ~(1U << lane), [&](int reader) {
      if (warp.order().ordered(reader, cell.read_stamp, lane)) return;
      race(warp, lane, address, access, false, reader_warp * kLanes + reader, cell.read_pc);
    });
  }
  cell.several_writers =
      access == Access::Atomic && cell.write_epoch == epoch_ && (cell.several_writers || cell.write_thread != thread);
  cell.atomic_write = access == Access::Atomic;
  cell.write_epoch = epoch_;
  cell.write_stamp = warp.order().stamp();
  cell.write_instruction = instruction;
  cell.write_thread = static_cast<uint16_t>(thread);
  cell.write_pc = warp.pc();
}

void SharedMemory::record_read(Warp& warp, int lane, Cell& cell) const {
  const uint32_t bit = 1U << lane;
  const auto warp_index = static_cast<uint8_t>(warp.index());
  if (cell.read_epoch != epoch_) {
    cell.read_epoch = epoch_;
    cell.several_warps_read = false;
    cell.read_warp = warp_index;
    cell.readers = bit;
  } else if (cell.read_warp != warp_index) {
    // A later write by anyone then has a reader in another warp: who exactly no longer matters.
    cell.several_warps_read = true;
    cell.other_reader = static_cast<uint16_t>(warp.thread(lane));
    return;
  } else {
    const bool older_are_ordered = cell.read_stamp < warp.order().last_full();
    cell.readers = older_are_ordered ? bit : cell.readers | bit;
  }
  cell.read_stamp = warp.order().stamp();
  cell.read_pc = warp.pc();
}

void SharedMemory::race(Warp& warp, int lane, uint32_t address, Access access, bool other_wrote, int other_thread,
                        uint32_t other_pc) const {
  const bool same_warp = other_thread / kLanes == warp.index();
  const char* verb = access == Access::Read ? "reads" : access == Access::Write ? "writes" : "updates";
  warp.fail(
      "shared-race", lane,
      fmt::format("{} shared memory, {}, which thread {} {} at {} with no {} in between. Synchronise the threads.",
                  verb, where(address), other_thread, other_wrote ? "wrote" : "read", warp.describe_line(other_pc),
                  same_warp ? "__syncthreads or __syncwarp" : "__syncthreads"));
}

}  // namespace triptych::emulator::ptx
