#pragma once

#include <cstddef>
#include <cstdint>

#include "base/rooms.h"

namespace triptych::parallel {

/// Memory that several processes of one machine map. It has no name and goes away with its last user, however that
/// ends. New memory is zero; pages cost memory once they are touched.
class SharedSegment {
 public:
  /// What another process needs to map the segment; plain bytes, to be sent.
  struct Ticket {
    int process = 0;
    int descriptor = -1;
    uint64_t bytes = 0;
    uint64_t inode = 0;
  };

  /// Throws WorldError if the system has no memory for it.
  static SharedSegment create(std::size_t bytes);
  /// Maps the segment of a process that still holds it open, or returns one without memory if this process may not
  /// (another container, a hardened kernel).
  static SharedSegment open(const Ticket& ticket);

  SharedSegment() = default;
  SharedSegment(SharedSegment&& other) noexcept;
  SharedSegment& operator=(SharedSegment&& other) noexcept;
  ~SharedSegment();

  std::byte* data() const { return data_; }
  std::size_t size() const { return size_; }
  Ticket ticket() const;
  /// Called when everybody has mapped it.
  void close_descriptor();

 private:
  void map(int descriptor, std::size_t bytes);
  std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  int descriptor_ = -1;
};

}  // namespace triptych::parallel
