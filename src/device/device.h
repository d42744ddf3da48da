#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "device/stream.h"

namespace triptych {

struct MemoryStats {
  std::size_t used_bytes = 0;       ///< in buffers that are alive
  std::size_t peak_used_bytes = 0;  ///< the most that was ever in use
  std::size_t held_bytes = 0;       ///< asked of the system and kept for reuse
  int64_t num_system_allocations = 0;
};

class MemoryPool;

/// A piece of device memory, aligned to 64 bytes; goes back to the pool on destruction. Keeps the pool alive.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept;
  Buffer& operator=(Buffer&& other) noexcept;
  ~Buffer();
  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }

 private:
  friend class Device;
  Buffer(std::shared_ptr<MemoryPool> pool, std::byte* data, std::size_t size);
  std::shared_ptr<MemoryPool> pool_;
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

/// Where a rank computes: its memory pool and its compute stream. Which kind is chosen when linking; this is the CPU's.
/// Each rank has one, passed to what needs it; a rank that is a thread (tests) has its own.
class Device {
 public:
  /// Throws UserError if num_threads < 1.
  explicit Device(int num_threads);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  Stream& stream() { return stream_; }
  /// Contents are undefined. 0 bytes are legal. Throws WorldError that says what was asked and what is held.
  Buffer allocate(std::size_t bytes);
  MemoryStats memory() const;
  std::string_view kind() const { return "cpu"; }

 private:
  std::shared_ptr<MemoryPool> pool_;
  Stream stream_;
};

}  // namespace triptych
