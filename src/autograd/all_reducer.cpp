#include "autograd/all_reducer.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/checked.h"
#include "parallel/largest_piece.h"

namespace triptych::autograd {
namespace {

// The ranks over which a gradient of this layout is to be summed, or null.
Group* summing_group(const Layout& layout, Mesh& mesh) {
  const AxisSet axes = layout.partial_axes();
  return axes.empty() ? nullptr : &mesh.group(axes);
}

// Every gradient of a bucket begins at a multiple of 256 bytes, as one that was allocated by itself does: a scalar
// would else misalign all behind it, and a product that leaves a gradient there had to take a slower algorithm.
constexpr int64_t kAlignedElements = 256 / static_cast<int64_t>(sizeof(float));

}  // namespace

AllReducer::AllReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes)
    : device_(&device),
      mesh_(&mesh),
      parameters_(parameters.begin(), parameters.end()),
      tied_(mesh, parameters),
      bucket_elements_(std::max<int64_t>(1, bucket_bytes / 4)) {}

void AllReducer::begin_step() {
  next_ = 0;
  for (const Bucket& bucket : buckets_) {
    TRIPTYCH_CHECK(!bucket.pending, "a step began before the last one's gradients were complete");
  }
  for (Parameter* parameter : parameters_) parameter->gradient.reset();
}

// What the first step has shown becomes the plan of all.
void AllReducer::arrange() {
  std::map<Group*, std::size_t> open;  // the bucket being filled; looked up, never iterated
  std::vector<int64_t> sizes;
  for (auto it = parameters_.rbegin(); it != parameters_.rend(); ++it) {
    Parameter& parameter = **it;
    if (!parameter.is_trained) continue;
    const Layout layout = parameter.gradient.empty() ? Layout() : parameter.gradient.layout();
    Group* const ranks = summing_group(layout, *mesh_);
    // Ranks that share a sum fill their buckets alike, whatever is ragged of what they hold.
    const int64_t count = largest_piece(parameter.global_shape, parameter.layout, mesh_->shape()).num_elements();
    const auto found = open.find(ranks);
    if (found == open.end() || sizes[found->second] + count > bucket_elements_) {
      open[ranks] = buckets_.size();
      buckets_.push_back({.group = ranks});
      sizes.push_back(0);
    }
    const std::size_t index = open[ranks];
    buckets_[index].members.push_back({&parameter, layout, parameter.gradient.num_uses()});
    sizes[index] += count;
  }
  for (Bucket& bucket : buckets_) {
    int64_t size = 0;
    for (const Member& member : bucket.members) {
      size += round_up(member.parameter->value.num_elements(), kAlignedElements);
    }
    // What lies between the gradients is summed with them, and stays zero.
    bucket.memory = Tensor::zeros(*device_, DType::kFloat32, Shape{size}, MemoryPart::kGradients);
    int64_t offset = 0;
    for (const Member& member : bucket.members) {
      const Tensor& value = member.parameter->value;
      member.parameter->reduced = bucket.memory.slice(0, offset, value.num_elements()).view(value.shape());
      member.parameter->gradient.move_to(member.parameter->reduced);
      offset += round_up(value.num_elements(), kAlignedElements);
    }
  }
}

bool AllReducer::is_ready(const Bucket& bucket) const {
  return std::all_of(bucket.members.begin(), bucket.members.end(),
                     [](const Member& member) { return member.parameter->gradient.num_uses() >= member.num_uses; });
}

void AllReducer::start(Bucket& bucket) {
  for (const Member& member : bucket.members) {
    GradientSum& gradient = member.parameter->gradient;
    TRIPTYCH_CHECK(gradient.empty() || gradient.layout() == member.layout,
                   "the gradient of {} comes out {}, in the first step it came out {}", member.parameter->name,
                   gradient.layout().to_string(), member.layout.to_string());
    gradient.complete();
    gradient.close();
  }
  if (bucket.group != nullptr) {
    bucket.pending =
        bucket.group->all_reduce(bucket.memory.raw(), bucket.memory.num_elements(), DType::kFloat32, ReduceOp::kSum);
  }
}

void AllReducer::poll() {
  while (next_ < buckets_.size() && is_ready(buckets_[next_])) start(buckets_[next_++]);
  mesh_->progress();
}

void AllReducer::finish() {
  if (buckets_.empty()) arrange();
  while (next_ < buckets_.size()) start(buckets_[next_++]);
  for (Bucket& bucket : buckets_) {
    if (bucket.pending) bucket.pending->wait();
    bucket.pending.reset();
  }
  tied_.sum();
}

}  // namespace triptych::autograd
