#pragma once

#include "emulator/ptx/builder.h"
#include "emulator/ptx/lane_ops.h"

namespace triptych::emulator::ptx {

// The integer side of opcodes that floats have as well; null for a type that is no integer.
Execute pick_integer_add(Type type, bool saturated);
Execute pick_integer_subtract(Type type, bool saturated);
Execute pick_integer_minimum(Type type);
Execute pick_integer_maximum(Type type);
Execute pick_integer_absolute(Type type);
Execute pick_integer_negate(Type type);
Execute pick_integer_divide(Type type);
void build_integer_multiply(Builder& builder);

}  // namespace triptych::emulator::ptx
