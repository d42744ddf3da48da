#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "emulator/runtime/stream_queue.h"

namespace triptych::emulator {

/// What machine is emulated, and how. From the environment:
///
///   TRIPTYCH_EMULATOR_DEVICES    number of devices; 0 is a machine without a driver                        8
///   TRIPTYCH_EMULATOR_MEMORY_MB  memory of each device, in MiB                                             1024
///   CUDA_VISIBLE_DEVICES         which of them the process sees, and in which order: "3" or "0,2"           all
///   TRIPTYCH_EMULATOR_TARGET     compute capability times ten: 80, 86 or 90; 86 runs the PTX of 80         90
///   TRIPTYCH_EMULATOR_STREAMS    deferred, eager, random or others-first (StreamMode)                      deferred
///   TRIPTYCH_EMULATOR_SEED       of every choice that a real GPU leaves open                               0
///   TRIPTYCH_EMULATOR_BGRAD      0: cuBLASLt's heuristic has no algorithm with a bias gradient, and says       1
///                                NOT_SUPPORTED; 2: it has none and says INVALID_VALUE
///   TRIPTYCH_EMULATOR_LAZY       1: a kernel's first launch waits for all work of the device, as it may    0
///                                where CUDA loads kernels lazily; not with CUDA_MODULE_LOADING=EAGER
///   TRIPTYCH_EMULATOR_WORKER     0: nothing runs in the background; only for tests of one process          1
struct Options {
  int num_devices = 8;               ///< that the process sees
  std::vector<int> visible_devices;  ///< which of the machine's they are; empty: the first ones
  std::size_t memory_bytes = std::size_t{1024} << 20;
  int target = 90;
  enum class BiasGradients { kNotSupported, kSupported, kInvalidValue };  ///< what the heuristic says of them
  BiasGradients bias_gradients = BiasGradients::kSupported;
  bool loads_lazily = false;
  StreamQueues::Settings streams;

  /// The machine's number of a device of the process.
  int machine_device(int device) const {
    return visible_devices.empty() ? device : visible_devices[static_cast<std::size_t>(device)];
  }

  /// Reports `bad-argument` for a value that is none.
  static Options from_environment();
};

}  // namespace triptych::emulator
