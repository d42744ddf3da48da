#include "autograd/reducer.h"

#include <algorithm>
#include <map>

namespace triptych {
namespace {

// The ranks over which a gradient is to be summed, or null.
Group* summing_group(const Parameter& parameter, Mesh& mesh) {
  const AxisSet axes = parameter.gradient_layout.partial_axes();
  return axes.empty() ? nullptr : &mesh.group(axes);
}

}  // namespace

Reducer::Reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes)
    : mesh_(&mesh) {
  std::map<Group*, std::size_t> open;  // the bucket being filled, by group; looked up, never iterated
  std::vector<int64_t> sizes;
  const int64_t bucket_elements = std::max<int64_t>(1, bucket_bytes / 4);
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {
    Parameter& parameter = **it;
    Group* group = summing_group(parameter, mesh);
    const int64_t count = parameter.value.num_elements();
    const auto found = open.find(group);
    if (found == open.end() || sizes[found->second] + count > bucket_elements) {
      open[group] = buckets_.size();
      buckets_.push_back({group, {}, {}, {}});
      sizes.push_back(0);
    }
    const std::size_t index = open[group];
    buckets_[index].parameters.push_back(&parameter);
    sizes[index] += count;
  }
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    bucket.memory = Tensor::empty(device, DType::kFloat32, Shape{sizes[i]}, MemoryPart::kGradients);
    int64_t offset = 0;
    for (Parameter* parameter : bucket.parameters) {
      const int64_t count = parameter->value.num_elements();
      parameter->gradient = bucket.memory.slice(0, offset, count).view(parameter->value.shape());
      offset += count;
    }
  }
}

void Reducer::begin_step(int microbatches) {
  microbatches_ = microbatches;
  next_ = 0;
  for (const Bucket& bucket : buckets_) {
    TRIPTYCH_CHECK(!bucket.pending, "a step began before the last one's gradients were complete");
    for (Parameter* parameter : bucket.parameters) {
      parameter->gradient_is_empty = true;
      parameter->num_summands = 0;
    }
  }
}

bool Reducer::is_ready(const Bucket& bucket) const {
  return std::all_of(bucket.parameters.begin(), bucket.parameters.end(), [this](const Parameter* parameter) {
    const int expected = parameter->summands_per_step > 0 ? parameter->summands_per_step : microbatches_;
    return parameter->num_summands >= expected;
  });
}

void Reducer::start(Bucket& bucket) {
  for (Parameter* parameter : bucket.parameters) {
    if (parameter->gradient_is_empty) {
      parameter->gradient.fill_zero();
      parameter->gradient_is_empty = false;
    }
  }
  if (bucket.group != nullptr) {
    bucket.pending =
        bucket.group->all_reduce(bucket.memory.raw(), bucket.memory.num_elements(), DType::kFloat32, ReduceOp::kSum);
  }
}

void Reducer::poll() {
  while (next_ < buckets_.size() && is_ready(buckets_[next_])) start(buckets_[next_++]);
  mesh_->progress();
}

void Reducer::finish() {
  while (next_ < buckets_.size()) start(buckets_[next_++]);
  for (Bucket& bucket : buckets_) {
    if (bucket.pending) bucket.pending->wait();
    bucket.pending.reset();
  }
}

}  // namespace triptych
