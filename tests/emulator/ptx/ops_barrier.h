#pragma once

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// Gives the lanes that waited at a `bar.red` its result, when the barrier opens.
void finish_barrier_reduction(Warp& warp, const Op& op, uint32_t lanes);

}  // namespace triptych::emulator::ptx
