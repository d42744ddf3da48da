#pragma once

#include <cstddef>
#include <cstdint>

#include "device/stream.h"

namespace triptych::kernels::cuda {

/// The key of an id: its row in this rank's table, or vocab_local for all that are not in it.
struct TableRows {
  const int32_t* ids = nullptr;
  int64_t vocab_begin = 0;
  uint32_t vocab_local = 0;

  __device__ uint32_t operator()(uint32_t i) const {
    const int64_t row = ids[i] - vocab_begin;
    return row >= 0 && row < vocab_local ? static_cast<uint32_t>(row) : vocab_local;
  }
};

/// What stable_order needs of scratch memory.
std::size_t stable_order_bytes(int64_t n);

/// Queues the sorting of 0 .. n by their keys, equal keys in ascending order, and returns where in `scratch` (of
/// stable_order_bytes, aligned to 4) the order will be. A radix sort, 8 bits a pass, of which there are as many as
/// vocab_local has; n below 2^31.
const uint32_t* stable_order(Stream& stream, const TableRows& rows, int64_t n, std::byte* scratch);

}  // namespace triptych::kernels::cuda
