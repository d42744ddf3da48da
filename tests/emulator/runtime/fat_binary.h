#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>

namespace triptych::emulator {

/// What nvcc puts into an object file: the device code of one source file, for several architectures.
struct FatBinary {
  std::map<int, std::string> ptx;                    ///< by compute capability times ten
  std::map<int, std::span<const std::byte>> cubins;  ///< ELF files, borrowed
};

/// `wrapper` is what __cudaRegisterFatBinary is called with. Reports `unsupported` for an unknown or a compressed
/// container (compile with --no-compress).
FatBinary read_fat_binary(const void* wrapper);

/// How many registers a thread of each kernel takes, by mangled name, as ptxas has noted it in the cubin.
std::map<std::string, int> registers_per_thread(std::span<const std::byte> cubin);

}  // namespace triptych::emulator
