#include "emulator/ptx/ops_warp.h"

#include <algorithm>
#include <array>
#include <bit>

#include <fmt/format.h>

#include "emulator/ptx/builder.h"
#include "emulator/ptx/warp.h"

// shfl, vote, activemask, match, redux, elect

namespace triptych::emulator::ptx {
namespace {

// ---- shfl

enum Shuffle : uint8_t { kUp, kDown, kButterfly, kIndex };

struct ShuffleSource {
  int lane;
  bool in_range;
};

// The source lane of `lane`, as PTX defines it by the operands b and c.
ShuffleSource shuffle_source(uint8_t mode, int lane, uint32_t b, uint32_t c) {
  const int offset = static_cast<int>(b & 31), clamp = static_cast<int>(c & 31),
            segments = static_cast<int>(c >> 8 & 31);
  const int highest = (lane & segments) | (clamp & ~segments), lowest = lane & segments;
  int source = 0;
  bool in_range = false;
  switch (mode) {
    case kUp:
      source = lane - offset, in_range = source >= highest;
      break;
    case kDown:
      source = lane + offset, in_range = source <= highest;
      break;
    case kButterfly:
      source = lane ^ offset, in_range = source <= highest;
      break;
    default:
      source = lowest | (offset & ~segments), in_range = source <= highest;
      break;
  }
  return {in_range ? source : lane, in_range};
}

void run_shuffle(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(3))) return;
  const uint32_t* values = warp.lanes<uint32_t>(op.source(0));
  const uint32_t* b = warp.lanes<uint32_t>(op.source(1));
  const uint32_t* c = warp.lanes<uint32_t>(op.source(2));
  const uint32_t* members = warp.lanes<uint32_t>(op.source(3));
  std::array<uint32_t, kLanes> from{};
  std::copy_n(values, kLanes, from.begin());
  uint32_t* to = warp.lanes<uint32_t>(op.result(0));
  uint32_t in_range = 0;
  for_lanes(warp.mask(), [&](int lane) {
    const ShuffleSource source = shuffle_source(op.mode, lane, b[lane], c[lane]);
    const uint32_t bit = 1U << source.lane;
    if ((warp.mask() & bit) == 0 || (members[lane] & bit) == 0) {
      warp.fail("divergent-shuffle", lane,
                fmt::format("reads the value of lane {}, which {}. Shuffle among lanes that take part.", source.lane,
                            (warp.mask() & bit) == 0 ? "does not execute the shuffle" : "its mask does not name"));
    }
    to[lane] = from[static_cast<unsigned>(source.lane)];
    in_range |= uint32_t{source.in_range} << lane;
  });
  uint32_t& predicate = warp.predicate(op.result(1));
  predicate = (predicate & ~warp.mask()) | in_range;
}

void build_shfl(Builder& builder) {
  if (!builder.take("sync")) builder.unsupported("a shuffle without a mask of members");
  const std::string_view name = builder.take_any({"up", "down", "bfly", "idx"});
  builder.op.mode = name == "up" ? kUp : name == "down" ? kDown : name == "bfly" ? kButterfly : kIndex;
  builder.take_type();
  builder.result(0, Type::B32);
  builder.predicate_result(builder.term(0).second);
  for (std::size_t i = 1; i <= 4; ++i) builder.source(i, Type::B32);
  builder.run(run_shuffle);
}

// ---- The others give all lanes of one mask the same value, or one that depends on all of them.

// Calls visit(group) for each set of lanes that share a mask.
template <class Visit>
void for_groups(Warp& warp, const Operand& masks, Visit visit) {
  const uint32_t* members = warp.lanes<uint32_t>(masks);
  for (uint32_t rest = warp.mask(); rest != 0;) {
    const uint32_t group = members[first_lane(rest)] & warp.mask();
    visit(group);
    rest &= ~group;
  }
}

void set_predicate(Warp& warp, const Operand& operand, uint32_t lanes, bool value) {
  uint32_t& result = warp.predicate(operand);
  result = value ? result | lanes : result & ~lanes;
}

enum Vote : uint8_t { kAll, kAny, kUniform, kBallot };

void run_vote(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(1))) return;
  uint32_t value = warp.predicate(op.source(0));
  if (op.target != 0) value = ~value;
  for_groups(warp, op.source(1), [&](uint32_t group) {
    const uint32_t ballot = value & group;
    switch (op.mode) {
      case kAll:
        set_predicate(warp, op.result(), group, ballot == group);
        break;
      case kAny:
        set_predicate(warp, op.result(), group, ballot != 0);
        break;
      case kUniform:
        set_predicate(warp, op.result(), group, ballot == group || ballot == 0);
        break;
      default:
        for_lanes(group, [&](int lane) { warp.lanes<uint32_t>(op.result())[lane] = ballot; });
        break;
    }
  });
}

void build_vote(Builder& builder) {
  if (!builder.take("sync")) builder.unsupported("a vote without a mask of members");
  const std::string_view name = builder.take_any({"all", "any", "uni", "ballot"});
  builder.op.mode = name == "all" ? kAll : name == "any" ? kAny : name == "uni" ? kUniform : kBallot;
  builder.result(0, builder.take_type());
  Term predicate = builder.term(1);
  builder.op.target = predicate.negated ? 1 : 0;
  predicate.negated = false;
  builder.source(predicate, Type::Pred);
  builder.source(2, Type::B32);
  builder.run(run_vote);
}

void run_active_mask(Warp& warp, const Op& op) {
  for_lanes(warp.mask(), [&](int lane) { warp.lanes<uint32_t>(op.result())[lane] = warp.mask(); });
}

void build_activemask(Builder& builder) {
  builder.result(0, builder.take_type());
  builder.run(run_active_mask);
}

template <class T>
void run_match(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(1))) return;
  const T* values = warp.lanes<T>(op.source(0));
  uint32_t* to = warp.lanes<uint32_t>(op.result(0));
  std::array<uint32_t, kLanes> equal{};
  for_groups(warp, op.source(1), [&](uint32_t group) {
    for_lanes(group, [&](int lane) {
      for_lanes(group, [&](int other) {
        equal[static_cast<unsigned>(lane)] |= uint32_t{values[lane] == values[other]} << other;
      });
    });
    if (op.mode == kAny) return;
    const bool all = equal[static_cast<unsigned>(first_lane(group))] == group;
    for_lanes(group, [&](int lane) { equal[static_cast<unsigned>(lane)] = all ? group : 0; });
    set_predicate(warp, op.result(1), group, all);
  });
  for_lanes(warp.mask(), [&](int lane) { to[lane] = equal[static_cast<unsigned>(lane)]; });
}

void build_match(Builder& builder) {
  builder.take("sync");
  builder.op.mode = builder.take_any({"any", "all"}) == "any" ? kAny : kAll;
  const Type type = builder.take_type();
  builder.result(0, Type::B32);
  if (builder.op.mode == kAll) builder.predicate_result(builder.term(0).second);
  builder.source(1, type);
  builder.source(2, Type::B32);
  builder.run(type == Type::B32 ? &run_match<uint32_t> : type == Type::B64 ? &run_match<uint64_t> : nullptr);
}

struct Sum {
  template <class T>
  T operator()(T a, T b) const {
    return static_cast<T>(static_cast<uint32_t>(a) + static_cast<uint32_t>(b));
  }
};
struct Least {
  template <class T>
  T operator()(T a, T b) const {
    return std::min(a, b);
  }
};
struct Greatest {
  template <class T>
  T operator()(T a, T b) const {
    return std::max(a, b);
  }
};
struct AllBits {
  template <class T>
  T operator()(T a, T b) const {
    return a & b;
  }
};
struct AnyBits {
  template <class T>
  T operator()(T a, T b) const {
    return a | b;
  }
};
struct OddBits {
  template <class T>
  T operator()(T a, T b) const {
    return a ^ b;
  }
};

template <class Function, class T>
void run_reduce(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(1))) return;
  std::array<T, kLanes> values{};
  std::copy_n(warp.lanes<T>(op.source(0)), kLanes, values.begin());
  T* to = warp.lanes<T>(op.result());
  for_groups(warp, op.source(1), [&](uint32_t group) {
    T total = values[static_cast<unsigned>(first_lane(group))];
    for_lanes(group & (group - 1), [&](int lane) { total = Function{}(total, values[static_cast<unsigned>(lane)]); });
    for_lanes(group, [&](int lane) { to[lane] = total; });
  });
}

template <class Function>
Execute pick_reduce(Type type) {
  if (type == Type::S32) return &run_reduce<Function, int32_t>;
  return type == Type::U32 || type == Type::B32 ? &run_reduce<Function, uint32_t> : nullptr;
}

void build_redux(Builder& builder) {
  builder.take("sync");
  const std::string_view name = builder.take_any({"add", "min", "max", "and", "or", "xor"});
  const Type type = builder.take_type();
  builder.result(0, type);
  builder.source(1, type);
  builder.source(2, Type::B32);
  builder.run(name == "add"   ? pick_reduce<Sum>(type)
              : name == "min" ? pick_reduce<Least>(type)
              : name == "max" ? pick_reduce<Greatest>(type)
              : name == "and" ? pick_reduce<AllBits>(type)
              : name == "or"  ? pick_reduce<AnyBits>(type)
              : name == "xor" ? pick_reduce<OddBits>(type)
                              : nullptr);
}

void run_elect(Warp& warp, const Op& op) {
  if (!gather_members(warp, op.source(0))) return;
  for_groups(warp, op.source(0), [&](uint32_t group) {
    const int leader = first_lane(group);
    for_lanes(group, [&](int lane) { warp.lanes<uint32_t>(op.result(0))[lane] = static_cast<uint32_t>(leader); });
    set_predicate(warp, op.result(1), group, false);
    set_predicate(warp, op.result(1), 1U << leader, true);
  });
}

void build_elect(Builder& builder) {
  builder.take("sync");
  builder.result(builder.term(0), 4);
  builder.predicate_result(builder.term(0).second);
  builder.source(1, Type::B32);
  builder.run(run_elect);
}

}  // namespace

bool gather_members(Warp& warp, const Operand& masks) {
  const uint32_t* members = warp.lanes<uint32_t>(masks);
  for (uint32_t rest = warp.mask(); rest != 0;) {
    const int lane = first_lane(rest);
    const uint32_t member = members[lane];
    if (((member >> lane) & 1) == 0) {
      warp.fail(
          "divergent-shuffle", lane,
          fmt::format("executes a warp-wide instruction whose mask {:#010x} does not name it. Name the lanes that "
                      "execute it.",
                      member));
    }
    if (!warp.gather(member)) return false;
    uint32_t group = 0;
    for_lanes(rest, [&](int other) { group |= uint32_t{members[other] == member} << other; });
    if ((member & warp.live() & ~group) != 0) {
      const int other = first_lane(member & warp.live() & ~group);
      warp.fail(
          "divergent-shuffle", other,
          fmt::format("gives a warp-wide instruction the mask {:#010x}, while lane {} gives {:#010x}. All lanes of a "
                      "mask must give the same.",
                      members[other], lane, member));
    }
    rest &= ~group;
  }
  return true;
}

void add_warp_ops(HandlerTable& table) {
  table["shfl"] = build_shfl;
  table["vote"] = build_vote;
  table["activemask"] = build_activemask;
  table["match"] = build_match;
  table["redux"] = build_redux;
  table["elect"] = build_elect;
}

}  // namespace triptych::emulator::ptx
