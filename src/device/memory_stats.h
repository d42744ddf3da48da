#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::device {

/// What device memory is for: told where it is allocated, so that an error can say which part of a run holds how much.
enum class MemoryPart : uint8_t { kParameters, kComputeCopies, kGradients, kOptimizerState, kBatches, kOther };
constexpr std::size_t kNumMemoryParts = 6;

/// "parameters", "compute copies", "gradients", "optimizer state", "batches", "activations and workspace".
std::string_view memory_part_name(MemoryPart part);

/// Bytes by part.
class MemoryByPart {
 public:
  std::size_t& operator[](MemoryPart part) { return bytes_[static_cast<std::size_t>(part)]; }
  std::size_t operator[](MemoryPart part) const { return bytes_[static_cast<std::size_t>(part)]; }

 private:
  std::array<std::size_t, kNumMemoryParts> bytes_{};
};

/// What a pool has given out; the pools of both backends keep their books in one.
struct MemoryStats {
  std::size_t used_bytes = 0;       ///< in buffers that are alive
  std::size_t peak_used_bytes = 0;  ///< the most that was ever in use
  MemoryByPart used_by_part;        ///< the sum is used_bytes
  MemoryByPart peak_by_part;        ///< when the most was in use: the sum is peak_used_bytes
  std::size_t held_bytes = 0;       ///< asked of the system and kept for reuse
  int64_t num_system_allocations = 0;

  void add(MemoryPart part, std::size_t bytes);
  void remove(MemoryPart part, std::size_t bytes);
};

/// For the error of an allocation that failed: "3.00 GiB were asked for (gradients), 20.00 GiB are in use (parameters
/// 15.00 GiB, optimizer state 5.00 GiB), 24.00 GiB are held".
std::string memory_shortage(std::size_t asked_bytes, MemoryPart part, const MemoryStats& stats);
/// What helps against it, by what takes the most, what was asked for included: a sentence without its full stop.
std::string memory_remedy(std::size_t asked_bytes, MemoryPart part, const MemoryStats& stats);

}  // namespace triptych::device
