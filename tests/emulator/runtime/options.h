#pragma once

#include <cstddef>
#include <cstdint>

#include "emulator/runtime/stream_queue.h"

namespace triptych::emulator {

/// What machine is emulated, and how. From the environment:
///
///   TRIPTYCH_EMULATOR_DEVICES    number of devices; 0 is a machine without a driver                        8
///   TRIPTYCH_EMULATOR_MEMORY_MB  memory of each device, in MiB                                             1024
///   TRIPTYCH_EMULATOR_TARGET     compute capability times ten, 80 or 90; also which PTX runs               90
///   TRIPTYCH_EMULATOR_STREAMS    deferred, eager, random or others-first (StreamMode)                      deferred
///   TRIPTYCH_EMULATOR_SEED       of every choice that a real GPU leaves open                               0
///   TRIPTYCH_EMULATOR_BGRAD      0: cuBLASLt's heuristic has no algorithm with a bias gradient                1
///   TRIPTYCH_EMULATOR_WORKER     0: nothing runs in the background; only for tests of one process          1
struct Options {
  int num_devices = 8;
  std::size_t memory_bytes = std::size_t{1024} << 20;
  int target = 90;
  bool has_bias_gradients = true;
  StreamQueues::Settings streams;

  /// Reports `bad-argument` for a value that is none.
  static Options from_environment();
};

}  // namespace triptych::emulator
