#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include <nccl.h>

#include "emulator/runtime/work.h"

namespace triptych::emulator {

enum class CallKind : int32_t { kAllReduce, kReduce, kBroadcast, kAllGather, kReduceScatter, kSend, kRecv };

/// What a rank asked of its communicator, as the others see it: plain bytes in shared memory.
struct CallRecord {
  CallKind kind = CallKind::kAllReduce;
  ncclDataType_t type = ncclFloat32;
  ncclRedOp_t op = ncclSum;
  int32_t peer = 0;  ///< the root, or the other rank of a message
  uint64_t count = 0;

  bool is_message() const { return kind == CallKind::kSend || kind == CallKind::kRecv; }
  bool reduces() const {
    return kind == CallKind::kAllReduce || kind == CallKind::kReduce || kind == CallKind::kReduceScatter;
  }
  /// True if two ranks may take part in one collective with these.
  bool agrees_with(const CallRecord& other) const;
  /// "ncclAllReduce(sum, float32 x 12)", "ncclSend(bfloat16 x 7, to rank 2)".
  std::string text() const;
  /// "ncclAllReduce".
  const char* name() const;
  /// Of `count` elements.
  uint64_t bytes() const;
};

/// A call with its buffers in device memory.
struct Call {
  CallRecord record;
  uint64_t send = 0, recv = 0;

  /// Elements of this rank's buffers in a communicator of `size` ranks; 0 where it has none.
  uint64_t send_count(int size, int rank) const;
  uint64_t recv_count(int size, int rank) const;
  std::vector<Access> accesses(int size, int rank) const;
};

/// Bytes of an element; reports `unsupported` for float8.
std::size_t element_bytes(ncclDataType_t type);

/// into[i] = into[i] (op) from[i], rounded to the type after every step, as NCCL does. ncclAvg adds; see
/// finish_average.
void reduce(std::byte* into, const std::byte* from, std::size_t count, ncclDataType_t type, ncclRedOp_t op);
void finish_average(std::byte* values, std::size_t count, ncclDataType_t type, int num_ranks);

}  // namespace triptych::emulator
