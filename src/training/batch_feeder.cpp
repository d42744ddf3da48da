#include "training/batch_feeder.h"

#include <chrono>
#include <cstring>
#include <utility>

namespace triptych {
namespace {

DeviceBatch empty_batch(Device& device, const Batch& batch, int64_t image_size, int64_t text_length) {
  DeviceBatch result;
  result.rows = static_cast<int64_t>(batch.sample_ids.size());
  const auto part = [&](DType dtype, const Shape& shape) {
    return Tensor::empty(device, dtype, shape, MemoryPart::kBatches);
  };
  if (!batch.pixels.empty()) result.pixels = part(DType::kUInt8, Shape{result.rows, image_size, image_size, 3});
  if (!batch.tokens.empty()) {
    result.tokens = part(DType::kInt32, Shape{result.rows, text_length});
    result.lengths = part(DType::kInt32, Shape{result.rows});
  }
  return result;
}

// Calls visit(part, tensor, values) for each of the three parts that the batch has.
template <typename Visit>
void for_parts(const DeviceBatch& target, const Batch& batch, const Visit& visit) {
  const auto part = [&](std::size_t number, const Tensor& tensor, std::span<const std::byte> values) {
    if (!tensor.defined()) return;
    TRIPTYCH_CHECK(values.size() == tensor.num_bytes(), "{} bytes for {}", values.size(), tensor.shape().to_string());
    visit(number, tensor, values);
  };
  part(0, target.pixels, std::as_bytes(std::span(batch.pixels)));
  part(1, target.tokens, std::as_bytes(std::span(batch.tokens)));
  part(2, target.lengths, std::as_bytes(std::span(batch.lengths)));
}

}  // namespace

std::vector<Microbatch> DeviceBatch::cut(int count) const {
  TRIPTYCH_CHECK(rows % count == 0, "{} rows in {} microbatches", rows, count);
  const int64_t piece = rows / count;
  const auto part = [&](const Tensor& whole, int m) {
    return whole.defined() ? whole.slice(0, m * piece, piece) : whole;
  };
  std::vector<Microbatch> result;
  for (int m = 0; m < count; ++m) {
    result.push_back(
        {.num_samples = piece, .pixels = part(pixels, m), .tokens = part(tokens, m), .lengths = part(lengths, m)});
  }
  return result;
}

DeviceBatch to_device(Device& device, const Batch& batch, int64_t image_size, int64_t text_length) {
  DeviceBatch result = empty_batch(device, batch, image_size, text_length);
  for_parts(result, batch, [&](std::size_t, const Tensor& tensor, std::span<const std::byte> values) {
    device.write(tensor.raw(), values.data(), values.size());
  });
  return result;
}

BatchFeeder::BatchFeeder(Device& device, Loader& loader, int64_t image_size, int64_t text_length)
    : device_(&device), loader_(&loader), image_size_(image_size), text_length_(text_length) {}

void BatchFeeder::start_copy(Slot& slot, Batch&& batch) {
  if (slot.batch.rows == 0) {
    slot.batch = empty_batch(*device_, batch, image_size_, text_length_);
    slot.used = device_->record();  // memory is the compute stream's from where it was allocated on
  }
  // The copy out of these buffers was ordered before a step that has been reported; it is done long since.
  wait_on_host(slot.copied, {});
  for_parts(slot.batch, batch, [&](std::size_t part, const Tensor& tensor, std::span<const std::byte> values) {
    HostBuffer& host = slot.host[part];
    if (host.size() < values.size()) host = device_->allocate_host(values.size());
    std::memcpy(host.data(), values.data(), values.size());
    slot.copied = device_->upload(tensor.raw(), host, values.size(), slot.used);
  });
  loader_->recycle(std::move(batch));
}

void BatchFeeder::prefetch() {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point start = Clock::now();
  Batch batch = loader_->next();
  wait_ms_ += std::chrono::duration<double, std::milli>(Clock::now() - start).count();
  start_copy(slots_[1 - current_], std::move(batch));
  is_prefetched_ = true;
}

const DeviceBatch& BatchFeeder::next() {
  if (!is_prefetched_) prefetch();
  is_prefetched_ = false;
  // All that reads the batch before has been queued by now: when the device gets here, its memory is free.
  slots_[current_].used = device_->record();
  current_ = 1 - current_;
  device_->wait(slots_[current_].copied);
  return slots_[current_].batch;
}

double BatchFeeder::take_wait_ms() {
  return std::exchange(wait_ms_, 0);
}

}  // namespace triptych
