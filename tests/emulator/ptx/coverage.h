#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace triptych::emulator::ptx {

/// The index of `opcode` in the table of this process.
uint32_t coverage_index(const std::string& opcode);
/// Adds how often a launch executed each index.
void add_coverage(const std::vector<uint64_t>& counts_by_index);

}  // namespace triptych::emulator::ptx
