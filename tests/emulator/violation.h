#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace triptych::emulator {

/// Something that a real GPU would get wrong without a word. Every kind has a name, which tests ask for:
///
///   memory    out-of-bounds  use-after-free  uninitialised-read  misaligned-access  host-touched-device-memory
///             host-pointer-in-kernel  double-free  red-zone-damaged
///   threads   shared-race  global-race  block-race  divergent-barrier  divergent-shuffle  launch-limit
///   streams   stream-race  freed-while-in-use  pinned-reused-early
///   calls     bad-argument  unknown-opcode  unsupported
///   nccl      nccl-mismatch  nccl-timeout  nccl-deadlock
struct Violation : std::runtime_error {
  Violation(std::string_view kind, const std::string& text);
  std::string name, message;
};

/// Prints `emulator: [name] message` and ends the process with exit code 86; with `throw_violations(true)`, for tests
/// of the emulator itself, throws Violation instead.
[[noreturn]] void report(std::string_view name, const std::string& message);
void throw_violations(bool throws);

/// While one is alive, `report` throws in this thread in any case: for a caller that may know more about the fault, and
/// reports it, or a better one, itself.
class CatchViolations {
 public:
  CatchViolations();
  ~CatchViolations();
  CatchViolations(const CatchViolations&) = delete;
  CatchViolations& operator=(const CatchViolations&) = delete;
};

}  // namespace triptych::emulator
