#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace triptych::emulator {

/// The device's global memory of one process. A device address is inside of a range that the host can not touch
/// (reserved without access: a SIGSEGV there is reported as `host-touched-device-memory`); the bytes lie in a second
/// mapping that only the emulator knows. Every byte has a shadow: allocated or not, freed, initialised or not.
///
/// Allocations are aligned to 256 bytes, filled with a poison pattern (a NaN in every float format that the kernels
/// use), and have red zones before and after. Freed memory keeps its shadow ("freed") and is not handed out again
/// until the address range has wrapped around. Thread-safe.
class DeviceMemory {
 public:
  /// `capacity` in bytes of memory that may be allocated at once: a small one makes an out-of-memory test.
  explicit DeviceMemory(std::size_t capacity);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  /// 0 if there is not enough. `what` names the allocation in diagnoses.
  uint64_t allocate(std::size_t bytes, const std::string& what);
  /// Reports `double-free`, or `bad-argument` for an address that no allocation begins at; checks the red zones.
  void free(uint64_t address);
  std::size_t used_bytes() const;
  std::size_t capacity() const;

  bool contains(uint64_t address) const;  ///< in the reserved range, allocated or not
  /// The allocation that holds `address`: its begin and size; size 0 if none is alive there.
  struct Allocation {
    uint64_t begin = 0;
    std::size_t size = 0;
    std::string what;
  };
  Allocation find(uint64_t address) const;

  /// Access by a kernel or a copy: reports out-of-bounds, use-after-free, uninitialised-read (unless `allow_undefined`,
  /// for a plain copy, which moves the undefinedness along), naming `who`. Fast for the common case.
  const std::byte* read(uint64_t address, std::size_t bytes, const char* who) const;
  std::byte* write(uint64_t address, std::size_t bytes, const char* who);  ///< marks the bytes as initialised
  void copy(uint64_t to, uint64_t from, std::size_t bytes, const char* who);
  /// Whether all of the bytes have been written since they were allocated.
  bool initialised(uint64_t address, std::size_t bytes) const;

  /// For the interpreter, which words its own reports: `readable` and `writable` say whether an access is allowed,
  /// `fault` names the violation and describes where the first bad byte lies, `bytes` gives the bytes unchecked.
  bool readable(uint64_t address, std::size_t bytes) const;
  bool writable(uint64_t address, std::size_t bytes) const;
  struct Fault {
    std::string name, message;
  };
  Fault fault(uint64_t address, std::size_t bytes, bool reads) const;
  std::byte* bytes(uint64_t address) const { return bytes_ + (address - begin_); }
  void mark_initialised(uint64_t address, std::size_t bytes);
  void mark_undefined(uint64_t address, std::size_t bytes);
  uint64_t begin() const { return begin_; }  ///< of the reserved range
  uint64_t end() const { return end_; }

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  uint64_t begin_ = 0, end_ = 0;
  std::byte* bytes_ = nullptr;  // the mapping that the emulator uses
  uint8_t* shadow_ = nullptr;   // a state for each byte
};

}  // namespace triptych::emulator
