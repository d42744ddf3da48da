#pragma once

#include <array>
#include <cstdint>

#include "emulator/ptx/program.h"
#include "emulator/ptx/warp.h"

namespace triptych::emulator::ptx {

using Addresses = std::array<uint64_t, kLanes>;

/// The most bytes that one lane loads or stores in one instruction.
inline constexpr unsigned kMaxAccess = 32;

/// Source 0 of `op` plus its offset, for all lanes.
Addresses lane_addresses(Warp& warp, const Op& op);

/// Every lane's value, one after the other: `stride` bytes apart, as `bytes` says where.
struct LaneValues {
  const std::byte* bytes = nullptr;
  alignas(64) std::array<std::byte, kLanes * kMaxAccess> buffer;
};

/// Loads `size` bytes for each executing lane; reports every violation. `values.bytes` then points at them, `size`
/// apart.
void load(Warp& warp, Space space, const Addresses& addresses, unsigned size, bool strong, LaneValues& values);
/// Stores `size` bytes of each executing lane out of `values.buffer`.
void store(Warp& warp, Space space, const Addresses& addresses, unsigned size, bool strong, const LaneValues& values);

/// What one lane loads from global memory, at any address.
const std::byte* load_unaligned(Warp& warp, int lane, uint64_t address, unsigned size);

/// Memory that one lane updates: global or shared, read and written atomically.
std::byte* atomic_location(Warp& warp, Space space, int lane, uint64_t address, unsigned size);

/// Reports an address that is no multiple of `size`.
void require_aligned(Warp& warp, int lane, uint64_t address, unsigned size);

/// A generic address's space, and the address in it.
struct Location {
  Space space = Space::Global;
  uint64_t address = 0;
};
Location locate(Space space, uint64_t address);

}  // namespace triptych::emulator::ptx
