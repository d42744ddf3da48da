#include "execution/batch_feeder.h"

#include <chrono>
#include <cstring>
#include <utility>

namespace triptych::execution {
namespace {

Fields empty_fields(Device& device, const Batch& batch, std::span<const std::string> names) {
  Fields result(batch.num_rows());
  for (const std::string& name : names) {
    const FieldSpec& spec = batch.spec(name);
    result.set(name, Tensor::empty(device, spec.dtype, spec.batch_shape(batch.num_rows()), MemoryPart::kBatches));
  }
  return result;
}

// Calls visit(number, tensor, values) for each of the named fields.
template <typename Visit>
void for_fields(const Fields& target, const Batch& batch, std::span<const std::string> names, const Visit& visit) {
  for (std::size_t i = 0; i < names.size(); ++i) {
    const Tensor& tensor = target[names[i]];
    const std::span<const std::byte> values = batch.bytes(names[i]);
    TRIPTYCH_CHECK(values.size() == tensor.num_bytes(), "{} bytes for {}", values.size(), tensor.shape().to_string());
    visit(i, tensor, values);
  }
}

}  // namespace

Fields to_device(Device& device, const Batch& batch, std::span<const std::string> names) {
  Fields result = empty_fields(device, batch, names);
  for_fields(result, batch, names, [&](std::size_t, const Tensor& tensor, std::span<const std::byte> values) {
    device.write(tensor.raw(), values.data(), values.size());
  });
  return result;
}

BatchFeeder::BatchFeeder(Device& device, Loader& loader, std::vector<std::string> names)
    : device_(&device), loader_(&loader), names_(std::move(names)) {
  for (Staged& staged : staged_) staged.host.resize(names_.size());
}

void BatchFeeder::start_copy(Staged& staged, Batch&& batch) {
  if (staged.batch.num_samples() == 0) {
    staged.batch = empty_fields(*device_, batch, names_);
    staged.used = device_->record();  // memory is the compute stream's from where it was allocated on
  }
  // The copy out of these buffers was ordered before a step that has been reported; it is done long since.
  wait_on_host(staged.copied, {});
  for_fields(staged.batch, batch, names_,
             [&](std::size_t part, const Tensor& tensor, std::span<const std::byte> values) {
               HostBuffer& host = staged.host[part];
               if (host.size() < values.size()) host = device_->allocate_host(values.size());
               std::memcpy(host.data(), values.data(), values.size());
               staged.copied = device_->upload(tensor.raw(), host, values.size(), staged.used);
             });
  loader_->recycle(std::move(batch));
}

void BatchFeeder::prefetch() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Batch batch = loader_->next();
  wait_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  start_copy(staged_[1 - current_], std::move(batch));
  is_prefetched_ = true;
}

const Fields& BatchFeeder::next() {
  if (!is_prefetched_) prefetch();
  is_prefetched_ = false;
  // All that reads the batch before has been queued by now: when the device gets here, its memory is free.
  staged_[current_].used = device_->record();
  current_ = 1 - current_;
  device_->wait(staged_[current_].copied);
  return staged_[current_].batch;
}

double BatchFeeder::take_wait_ms() {
  return std::exchange(wait_ms_, 0);
}

}  // namespace triptych::execution
