#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "emulator/device_memory.h"
#include "emulator/interval_set.h"

namespace triptych::emulator {

/// One .ptx text, parsed and made ready to run.
class Module {
 public:
  /// Throws Violation `unknown-opcode` or `unsupported` naming the line, when a kernel that uses it is prepared (at its
  /// first launch), not before: a module may hold kernels that nothing launches.
  static std::shared_ptr<Module> parse(std::string ptx, std::string name);

  struct Parameter {
    std::size_t offset = 0, size = 0;  ///< in the packed parameter block, as the PTX declares them
  };
  struct Kernel {
    std::string name;  ///< mangled, as cudaRegisterFunction gives it
    std::vector<Parameter> parameters;
    std::size_t parameter_bytes = 0;
    std::size_t static_shared_bytes = 0;
    int max_threads = 1024;  ///< .maxntid, or 1024
    struct Code;
    std::shared_ptr<Code> code;
  };
  /// Null if there is none of that name.
  const Kernel* find(std::string_view name) const;
  std::vector<std::string> kernel_names() const;
  int target() const;  ///< 80 for `.target sm_80`

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

struct Launch {
  std::array<uint32_t, 3> grid{1, 1, 1}, block{1, 1, 1};
  std::size_t dynamic_shared_bytes = 0;
  std::size_t max_dynamic_shared_bytes = 48 << 10;  ///< raised by cudaFuncSetAttribute, at most 227 KiB
  std::span<const std::byte> parameters;            ///< packed, parameter_bytes long
  uint64_t seed = 0;                                ///< in which order blocks, and warps of a block, take turns
};

/// What a launch did, for the stream checks and the step table.
struct LaunchResult {
  IntervalSet reads, writes;                    ///< global memory
  uint64_t bytes_loaded = 0, bytes_stored = 0;  ///< by all lanes, as often as they did
  uint64_t num_instructions = 0;                ///< of warps
};

/// Runs a kernel to its end in the calling thread. Reports every violation of memory and threads (violation.h), naming
/// kernel, block, thread, the PTX line and its source text.
LaunchResult run_kernel(const Module::Kernel& kernel, const Launch& launch, DeviceMemory& memory);

/// By opcode with its types ("fma.rn.f32"): how often warps have executed it in this process.
std::vector<std::pair<std::string, uint64_t>> opcode_coverage();

}  // namespace triptych::emulator
