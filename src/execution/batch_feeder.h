#pragma once

#include <array>
#include <span>
#include <string>
#include <vector>

#include "data/loader.h"
#include "tensor/field.h"

namespace triptych::execution {

/// Copies the named fields of a batch onto the device. Waits until the batch may be changed; not for use in steady
/// steps.
Fields to_device(Device& device, const Batch& batch, std::span<const std::string> names);

/// Brings a loader's batches onto the device ahead of the steps that use them: while a step computes, the next batch is
/// copied from page-locked memory beside it. Two batches are in device memory at a time.
class BatchFeeder {
 public:
  /// The device and the loader must outlive this. `names`: the fields to copy, each of which the loader has.
  BatchFeeder(Device& device, Loader& loader, std::vector<std::string> names);

  /// The batch of the next step, on the device once the compute stream gets there; the step before must have been
  /// queued. Its memory is valid until the next call. Waits for the loader only if `prefetch` was not called before.
  const Fields& next();
  /// Called once a step has been queued: takes the loader's next batch and starts to copy it.
  void prefetch();
  /// Milliseconds for which the loader made next() and prefetch() wait since this was last asked.
  double take_wait_ms();

 private:
  struct Staged {
    Fields batch;
    std::vector<HostBuffer> host;  // page-locked, one a field
    Event copied;                  // the batch is on the device
    Event used;                    // the steps that read it are done
  };
  void start_copy(Staged& staged, Batch&& batch);

  Device* device_;
  Loader* loader_;
  std::vector<std::string> names_;
  std::array<Staged, 2> staged_;
  std::size_t current_ = 1;  // the staged that `next` gave last
  bool is_prefetched_ = false;
  double wait_ms_ = 0;
};

}  // namespace triptych::execution
