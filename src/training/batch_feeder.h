#pragma once

#include <array>
#include <vector>

#include "data/loader.h"
#include "models/model.h"

namespace triptych {

/// A rank's rows of a global batch in device memory; undefined tensors where the batch has no such part.
struct DeviceBatch {
  int64_t rows = 0;
  Tensor pixels;   ///< uint8 [rows, size, size, 3]
  Tensor tokens;   ///< int32 [rows, length]
  Tensor lengths;  ///< int32 [rows]

  /// `count` equal microbatches that share the memory.
  std::vector<Microbatch> cut(int count) const;
};

/// Copies a loader's batch onto the device. Waits until the batch may be changed; not for use in steady steps.
DeviceBatch to_device(Device& device, const Batch& batch, int64_t image_size, int64_t text_length);

/// Brings a loader's batches onto the device ahead of the steps that use them: while a step computes, the next batch is
/// copied from page-locked memory beside it. Two batches are in device memory at a time.
class BatchFeeder {
 public:
  /// The device and the loader must outlive this; `image_size` and `text_length` as the loader's options have them.
  BatchFeeder(Device& device, Loader& loader, int64_t image_size, int64_t text_length);

  /// The batch of the next step, on the device once the compute stream gets there; the step before must have been
  /// queued. Its memory is valid until the next call. Waits for the loader only if `prefetch` was not called before.
  const DeviceBatch& next();
  /// Called once a step has been queued: takes the loader's next batch and starts to copy it.
  void prefetch();
  /// Milliseconds for which the loader made next() and prefetch() wait since this was last asked.
  double take_wait_ms();

 private:
  struct Slot {
    DeviceBatch batch;
    std::array<HostBuffer, 3> host;  // page-locked: pixels, tokens, lengths
    Event copied;                    // the batch is on the device
    Event used;                      // the steps that read it are done
  };
  void start_copy(Slot& slot, Batch&& batch);

  Device* device_;
  Loader* loader_;
  int64_t image_size_, text_length_;
  std::array<Slot, 2> slots_;
  std::size_t current_ = 1;  // the slot that `next` gave last
  bool is_prefetched_ = false;
  double wait_ms_ = 0;
};

}  // namespace triptych
