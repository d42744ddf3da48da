#include <algorithm>
#include <cstring>
#include <type_traits>

#include "emulator/nccl/call.h"
#include "emulator/ptx/number_formats.h"
#include "emulator/violation.h"

namespace triptych::emulator {
namespace {

using ptx::BF16;
using ptx::F16;

template <typename T>
using Arithmetic = std::conditional_t<std::is_class_v<T>, float, T>;  // 16-bit floats are added as float32

template <typename T>
Arithmetic<T> combine(Arithmetic<T> a, Arithmetic<T> b, ncclRedOp_t op) {
  switch (op) {
    case ncclSum:
    case ncclAvg:
      if constexpr (std::is_integral_v<T>) {
        return static_cast<T>(static_cast<std::make_unsigned_t<T>>(a) + static_cast<std::make_unsigned_t<T>>(b));
      } else {
        return a + b;
      }
    case ncclProd:
      if constexpr (std::is_integral_v<T>) {
        return static_cast<T>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
      } else {
        return a * b;
      }
    case ncclMax:
      return std::max(a, b);
    case ncclMin:
      return std::min(a, b);
    default:
      report("unsupported", "a reduction that ncclRedOpCreatePreMulSum has made.");
  }
}

template <typename T>
Arithmetic<T> load(const std::byte* values, std::size_t i) {
  T value;
  std::memcpy(&value, values + i * sizeof(T), sizeof(T));
  if constexpr (std::is_class_v<T>) {
    return ptx::to_float(value);
  } else {
    return value;
  }
}

template <typename T>
T rounded(Arithmetic<T> value) {
  if constexpr (std::is_class_v<T>) {
    return ptx::to_half_nearest<T>(value);
  } else {
    return value;
  }
}

template <typename T>
void store(std::byte* values, std::size_t i, Arithmetic<T> value) {
  const T result = rounded<T>(value);
  std::memcpy(values + i * sizeof(T), &result, sizeof(T));
}

// Calls `visit` with a value of the type that NCCL names.
template <typename Visit>
void with_type(ncclDataType_t type, const Visit& visit) {
  switch (type) {
    case ncclInt8:
      return visit(int8_t());
    case ncclUint8:
      return visit(uint8_t());
    case ncclInt32:
      return visit(int32_t());
    case ncclUint32:
      return visit(uint32_t());
    case ncclInt64:
      return visit(int64_t());
    case ncclUint64:
      return visit(uint64_t());
    case ncclFloat16:
      return visit(F16());
    case ncclBfloat16:
      return visit(BF16());
    case ncclFloat32:
      return visit(float());
    case ncclFloat64:
      return visit(double());
    default:
      element_bytes(type);  // reports it
  }
}

}  // namespace

void reduce(std::byte* into, const std::byte* from, std::size_t count, ncclDataType_t type, ncclRedOp_t op) {
  with_type(type, [&]<typename T>(T) {
    for (std::size_t i = 0; i < count; ++i) store<T>(into, i, combine<T>(load<T>(into, i), load<T>(from, i), op));
  });
}

void finish_average(std::byte* values, std::size_t count, ncclDataType_t type, int num_ranks) {
  with_type(type, [&]<typename T>(T) {
    for (std::size_t i = 0; i < count; ++i) {
      store<T>(values, i, static_cast<Arithmetic<T>>(load<T>(values, i) / static_cast<Arithmetic<T>>(num_ranks)));
    }
  });
}

}  // namespace triptych::emulator
