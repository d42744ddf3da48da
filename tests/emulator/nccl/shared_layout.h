#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "emulator/nccl/call.h"

namespace triptych::emulator {

// What the ranks of one communicator share. New shared memory is zero, which is every field's first value.

constexpr int kMaxRanks = 64;  // a set of ranks is a mask of 64 bits

/// The bytes of a step of a collective, or of a piece of a message, and which of them the sender had ever written.
template <std::size_t kBytes>
struct Staged {
  static constexpr std::size_t kCapacity = kBytes;
  CallRecord call;
  uint64_t number;  ///< of the collective in the communicator, or of the message between two ranks
  uint64_t begin;   ///< of these bytes in the sender's buffer
  uint32_t length;
  uint32_t all_defined;
  std::array<uint8_t, kBytes / 8> defined;  ///< a bit a byte; only where not all are
  std::array<std::byte, kBytes> data;
};

/// What a rank tells the others. Only it writes, they read.
struct alignas(128) RankState {
  std::atomic<int32_t> process, device;
  std::atomic<uint32_t> joined;
  std::atomic<uint32_t> aborted;
  std::atomic<uint32_t> left;  ///< it has freed the communicator, with nothing in flight

  // Steps of collectives, counted over all of them.
  std::atomic<uint64_t> filled, drained;
  static constexpr uint64_t kNumSteps = 2;
  std::array<Staged<(32 << 10)>, kNumSteps> steps;

  // Who waits for whom. `polls` counts how often blocked work has looked again, `moves` how often something moved.
  std::atomic<uint64_t> waits_for;
  std::atomic<uint64_t> polls, moves;
  std::atomic<uint32_t> doing_version;  ///< odd while `doing` is being written
  std::array<char, 240> doing;

  // The first use of a connection, which blocks the host until all that are to be connected come.
  std::atomic<uint32_t> connects_collectives;
  std::atomic<uint64_t> connects_sends_to, connects_recvs_from;

  // ncclCommSplit: what this rank wants of split number `split_number` - 1, and how many it has read of all.
  std::atomic<uint64_t> split_number, splits_read;
  int32_t split_color, split_key;
};

/// Messages from one rank to another, in pieces.
struct alignas(128) PairState {
  std::atomic<uint64_t> written;            ///< by the sender
  alignas(128) std::atomic<uint64_t> read;  ///< by the receiver
  static constexpr uint64_t kNumPieces = 2;
  std::array<Staged<(16 << 10)>, kNumPieces> pieces;
};

struct alignas(128) SharedHeader {
  std::atomic<uint32_t> num_ranks;
  std::atomic<uint32_t> num_joined;
};

}  // namespace triptych::emulator
