#include <algorithm>
#include <cstring>
#include <type_traits>

#include "emulator/ptx/block.h"
#include "emulator/ptx/builder.h"
#include "emulator/ptx/float_functions.h"
#include "emulator/ptx/lane_ops.h"
#include "emulator/ptx/memory_access.h"

// atom, red: lanes update memory one after the other

namespace triptych::emulator::ptx {
namespace {

struct Add {
  template <class T>
  T operator()(T old, T b) const {
    if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(static_cast<std::make_unsigned_t<T>>(old) + static_cast<std::make_unsigned_t<T>>(b));
    } else {
      return Lift<FloatAdd<Rounding::Nearest>>{}(old, b);
    }
  }
};
struct Minimum {
  template <class T>
  T operator()(T old, T b) const {
    return std::min(old, b);
  }
};
struct Maximum {
  template <class T>
  T operator()(T old, T b) const {
    return std::max(old, b);
  }
};
struct And {
  template <class T>
  T operator()(T old, T b) const {
    return old & b;
  }
};
struct Or {
  template <class T>
  T operator()(T old, T b) const {
    return old | b;
  }
};
struct Xor {
  template <class T>
  T operator()(T old, T b) const {
    return old ^ b;
  }
};
struct Exchange {
  template <class T>
  T operator()(T, T b) const {
    return b;
  }
};
struct Increment {
  uint32_t operator()(uint32_t old, uint32_t limit) const { return old >= limit ? 0 : old + 1; }
};
struct Decrement {
  uint32_t operator()(uint32_t old, uint32_t limit) const { return old == 0 || old > limit ? limit : old - 1; }
};
struct CompareAndSwap {
  template <class T>
  T operator()(T old, T expected, T b) const {
    return old == expected ? b : old;
  }
};

enum Order : uint8_t { kRelaxed = 0, kAcquire = 1, kRelease = 2 };

template <class Function, class T, class... Rest>
void run_atomic(Warp& warp, const Op& op) {
  if ((op.mode & kRelease) != 0) warp.block().fence(warp);
  const Addresses addresses = lane_addresses(warp, op);
  const T* b = warp.lanes<T>(op.source(1));
  for_lanes(warp.mask(), [&](int lane) {
    std::byte* at = atomic_location(warp, op.space, lane, addresses[static_cast<unsigned>(lane)], sizeof(T));
    T old;
    std::memcpy(&old, at, sizeof(T));
    T updated;
    if constexpr (sizeof...(Rest) == 0) {
      updated = Function{}(old, b[lane]);
    } else {
      updated = Function{}(old, b[lane], warp.lanes<T>(op.source(2))[lane]);
    }
    std::memcpy(at, &updated, sizeof(T));
    if (op.num_results > 0) warp.lanes<T>(op.result())[lane] = old;
  });
  if ((op.mode & kAcquire) != 0) warp.block().fence(warp);
}

template <class Function, Type... types>
Execute pick(Type type) {
  Execute picked = nullptr;
  ((type == types ? void(picked = &run_atomic<Function, typename LaneOf<types>::T>) : void()), ...);
  return picked;
}

Execute pick_atomic(std::string_view name, Type type) {
  if (name == "add") {
    return pick<Add, Type::U32, Type::S32, Type::U64, Type::S64, Type::F16, Type::F16x2, Type::BF16, Type::BF16x2,
                Type::F32, Type::F64>(type);
  }
  if (name == "min") return pick<Minimum, Type::U32, Type::S32, Type::U64, Type::S64>(type);
  if (name == "max") return pick<Maximum, Type::U32, Type::S32, Type::U64, Type::S64>(type);
  if (name == "and") return pick<And, Type::B32, Type::B64>(type);
  if (name == "or") return pick<Or, Type::B32, Type::B64>(type);
  if (name == "xor") return pick<Xor, Type::B32, Type::B64>(type);
  if (name == "exch") return pick<Exchange, Type::B32, Type::B64>(type);
  if (name == "inc") return pick<Increment, Type::U32>(type);
  if (name == "dec") return pick<Decrement, Type::U32>(type);
  if (name != "cas") return nullptr;
  switch (type) {
    case Type::B16:
      return &run_atomic<CompareAndSwap, uint16_t, uint16_t>;
    case Type::B32:
      return &run_atomic<CompareAndSwap, uint32_t, uint32_t>;
    case Type::B64:
      return &run_atomic<CompareAndSwap, uint64_t, uint64_t>;
    default:
      return nullptr;
  }
}

template <bool has_result>
void build_atomic(Builder& builder) {
  const std::string_view order = builder.take_any({"relaxed", "acquire", "release", "acq_rel"});
  if (order == "acquire" || order == "acq_rel") builder.op.mode |= kAcquire;
  if (order == "release" || order == "acq_rel") builder.op.mode |= kRelease;
  builder.take_any({"cta", "gpu", "sys"});
  builder.take("noftz");
  const std::string_view space = builder.take_any({"global", "shared", "shared::cta"});
  builder.op.space = space.empty() ? Space::Generic : space == "global" ? Space::Global : Space::Shared;
  const std::string_view name =
      builder.take_any({"add", "min", "max", "and", "or", "xor", "exch", "inc", "dec", "cas"});
  const Type type = builder.take_type();
  std::size_t at = 0;
  if (has_result) builder.result(at++, type);
  builder.address(builder.term(at++));
  for (; at < builder.num_terms(); ++at) builder.source(at, type);
  builder.run(pick_atomic(name, type));
}

}  // namespace

void add_atomic_ops(HandlerTable& table) {
  table["atom"] = build_atomic<true>;
  table["red"] = build_atomic<false>;
}

}  // namespace triptych::emulator::ptx
