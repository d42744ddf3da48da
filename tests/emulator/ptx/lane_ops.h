#pragma once

#include <cstdint>
#include <tuple>
#include <utility>

#include "emulator/ptx/number_formats.h"
#include "emulator/ptx/program.h"
#include "emulator/ptx/warp.h"

namespace triptych::emulator::ptx {

template <Type type>
struct LaneOf;
template <>
struct LaneOf<Type::B16> {
  using T = uint16_t;
};
template <>
struct LaneOf<Type::B32> {
  using T = uint32_t;
};
template <>
struct LaneOf<Type::B64> {
  using T = uint64_t;
};
template <>
struct LaneOf<Type::U16> {
  using T = uint16_t;
};
template <>
struct LaneOf<Type::U32> {
  using T = uint32_t;
};
template <>
struct LaneOf<Type::U64> {
  using T = uint64_t;
};
template <>
struct LaneOf<Type::S16> {
  using T = int16_t;
};
template <>
struct LaneOf<Type::S32> {
  using T = int32_t;
};
template <>
struct LaneOf<Type::S64> {
  using T = int64_t;
};
template <>
struct LaneOf<Type::F16> {
  using T = F16;
};
template <>
struct LaneOf<Type::F16x2> {
  using T = F16x2;
};
template <>
struct LaneOf<Type::BF16> {
  using T = BF16;
};
template <>
struct LaneOf<Type::BF16x2> {
  using T = BF16x2;
};
template <>
struct LaneOf<Type::F32> {
  using T = float;
};
template <>
struct LaneOf<Type::F64> {
  using T = double;
};

template <class Function, class Result, class... Sources, std::size_t... indices>
inline void map_lanes(Warp& warp, const Op& op, std::index_sequence<indices...>) {
  Result* to = warp.lanes<Result>(op.result());
  const std::tuple<const Sources*...> from{warp.lanes<Sources>(op.source(static_cast<int>(indices)))...};
  const uint32_t mask = warp.mask();
  if (mask == kAllLanes) {
// A result may be the same register as a source, but never another part of it.
#pragma GCC ivdep
    for (int lane = 0; lane < kLanes; ++lane) to[lane] = Function{}(std::get<indices>(from)[lane]...);
    return;
  }
  for_lanes(mask, [&](int lane) { to[lane] = Function{}(std::get<indices>(from)[lane]...); });
}

/// result = Function{}(sources...), for every executing lane.
template <class Function, class Result, class... Sources>
void run_map(Warp& warp, const Op& op) {
  map_lanes<Function, Result, Sources...>(warp, op, std::index_sequence_for<Sources...>{});
}

/// The instance of run_map for `type`, with all operands of that type; null if it is not one of `types`.
template <class Function, Type... types>
Execute pick_unary(Type type) {
  Execute picked = nullptr;
  ((type == types ? void(picked = &run_map<Function, typename LaneOf<types>::T, typename LaneOf<types>::T>) : void()),
   ...);
  return picked;
}

template <class Function, Type... types>
Execute pick_binary(Type type) {
  Execute picked = nullptr;
  ((type == types
        ? void(picked =
                   &run_map<Function, typename LaneOf<types>::T, typename LaneOf<types>::T, typename LaneOf<types>::T>)
        : void()),
   ...);
  return picked;
}

template <class Function, Type... types>
Execute pick_ternary(Type type) {
  Execute picked = nullptr;
  ((type == types ? void(picked = &run_map<Function, typename LaneOf<types>::T, typename LaneOf<types>::T,
                                           typename LaneOf<types>::T, typename LaneOf<types>::T>)
                  : void()),
   ...);
  return picked;
}

}  // namespace triptych::emulator::ptx
