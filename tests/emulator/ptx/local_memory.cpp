#include "emulator/ptx/local_memory.h"

#include <algorithm>
#include <cstring>

namespace triptych::emulator::ptx {

LocalMemory::LocalMemory(const Program& program)
    : size_(program.local_bytes), bytes_(size_ * kLanes), states_(size_ * kLanes, OutOfBounds) {
  for (int lane = 0; lane < kLanes; ++lane) {
    for (const Program::Range& range : program.local_ranges) {
      std::memset(states_.data() + at(lane, range.begin), Undefined, range.end - range.begin);
    }
  }
}

std::byte* LocalMemory::bytes(int lane, uint64_t address, std::size_t size) {
  if (address > size_ || size > size_ - address) return nullptr;
  const uint8_t* states = states_.data() + at(lane, address);
  if (std::any_of(states, states + size, [](uint8_t state) { return state == OutOfBounds; })) return nullptr;
  return bytes_.data() + at(lane, address);
}

bool LocalMemory::is_defined(int lane, uint64_t address, std::size_t size) const {
  const uint8_t* states = states_.data() + at(lane, address);
  return std::all_of(states, states + size, [](uint8_t state) { return state == Defined; });
}

void LocalMemory::mark_defined(int lane, uint64_t address, std::size_t size) {
  std::memset(states_.data() + at(lane, address), Defined, size);
}

void LocalMemory::copy(int lane, uint32_t to, uint32_t from, uint32_t size) {
  std::memcpy(bytes_.data() + at(lane, to), bytes_.data() + at(lane, from), size);
  std::memcpy(states_.data() + at(lane, to), states_.data() + at(lane, from), size);
}

}  // namespace triptych::emulator::ptx
