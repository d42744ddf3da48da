#pragma once

#include "emulator/ptx/program.h"

namespace triptych::emulator::ptx {

/// Brings together the lanes that the executing lanes' masks name. False if some are elsewhere: the instruction is then
/// executed again when they have come. Reports masks that disagree, or that leave out their own lane.
bool gather_members(Warp& warp, const Operand& masks);

}  // namespace triptych::emulator::ptx
