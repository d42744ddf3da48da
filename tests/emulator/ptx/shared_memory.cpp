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
      cells_(size_) {
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
  track(warp, lane, address, size, Access::Read, bytes_.data() + address);
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
  track(warp, lane, address, size, Access::Write, value);
  std::memcpy(bytes_.data() + address, value, size);
  std::memset(states_.data() + address, Defined, size);
}

std::byte* SharedMemory::atomic(Warp& warp, int lane, uint64_t address, unsigned size) {
  require_inside(warp, lane, address, size, "updates");
  track(warp, lane, address, size, Access::Atomic, bytes_.data() + address);
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

void SharedMemory::track(Warp& warp, int lane, uint64_t address, unsigned size, Access access, const std::byte* value) {
  const auto conflict =
      cells_.touch(warp, lane, epoch_, static_cast<uint32_t>(address), size, access, bytes_.data() + address, value);
  if (!conflict) return;
  warp.fail("shared-race", lane,
            fmt::format("{} shared memory, {}, {}", verb_of(access), where(conflict->at),
                        AccessCells::describe(warp, *conflict)));
}

}  // namespace triptych::emulator::ptx
