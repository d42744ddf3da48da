#pragma once

#include <cstring>
#include <string>

#include "emulator/device_memory.h"
#include "emulator/nccl/shared_layout.h"

namespace triptych::emulator {

/// Copies device memory to the slot. Bytes that nobody has written may be moved, and stay undefined where they come to,
/// as with a copy; a reduction computes with them, which is `uninitialised-read`.
template <std::size_t kBytes>
void load(const DeviceMemory& memory, uint64_t address, uint32_t length, bool computes, Staged<kBytes>& slot,
          const std::string& who) {
  slot.length = length;
  slot.all_defined = 1;
  if (length == 0) return;
  if (computes || !memory.writable(address, length))
    memory.read(address, length, who.c_str());  // reports what is wrong
  std::memcpy(slot.data.data(), memory.bytes(address), length);
  slot.all_defined = memory.initialised(address, length) ? 1 : 0;
  if (slot.all_defined != 0) return;
  slot.defined.fill(0);
  for (uint32_t i = 0; i < length; ++i) {
    if (memory.initialised(address + i, 1)) slot.defined[i / 8] |= static_cast<uint8_t>(1 << i % 8);
  }
}

/// Copies bytes [begin, begin + length) of the slot to device memory, with what is undefined among them.
template <std::size_t kBytes>
void store(const Staged<kBytes>& slot, std::size_t begin, std::size_t length, DeviceMemory& memory, uint64_t address,
           const std::string& who) {
  if (length == 0) return;
  if (slot.all_defined != 0 || !memory.writable(address, length)) {
    std::memcpy(memory.write(address, length, who.c_str()), slot.data.data() + begin, length);
    return;
  }
  std::memcpy(memory.bytes(address), slot.data.data() + begin, length);
  memory.mark_undefined(address, length);
  for (std::size_t i = 0; i < length; ++i) {
    if ((slot.defined[(begin + i) / 8] >> (begin + i) % 8 & 1) != 0) memory.mark_initialised(address + i, 1);
  }
}

}  // namespace triptych::emulator
