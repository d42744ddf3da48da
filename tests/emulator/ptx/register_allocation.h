#pragma once

#include <cstdint>
#include <vector>

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// Where execution goes after an op.
enum class Flow : uint8_t { Next, Jump, Table, End };

/// Gives registers whose values are never needed at the same time the same place: nvcc's PTX assigns each register
/// about once, so that a large kernel has ten thousand of them, more than a processor's caches hold.
///
/// A register that may be read before it is written keeps a place of its own, so that the check of uninitialised reads
/// stays exact. Functions share no places, since a caller's values outlive the call. Operands hold numbers of virtual
/// registers in `index` before, and places after. `flow` is by op; `functions` are the pcs at which they begin,
/// ascending.
void allocate_registers(Program& program, const std::vector<Flow>& flow, const std::vector<uint32_t>& functions);

}  // namespace triptych::emulator::ptx
