#include "autograd/reducer.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "base/checked.h"

namespace triptych::autograd {
namespace {

// The ranks over which a gradient of this layout is to be summed, or null.
Group* summing_group(const Layout& layout, Mesh& mesh) {
  const AxisSet axes = layout.partial_axes();
  return axes.empty() ? nullptr : &mesh.group(axes);
}

constexpr char kSeparator = '\n';  // no name has it

// Every gradient of a bucket begins at a multiple of 256 bytes, as one that was allocated by itself does: a scalar
// would else misalign all behind it, and a product that leaves a gradient there had to take a slower algorithm.
constexpr int64_t kAlignedElements = 256 / static_cast<int64_t>(sizeof(float));

}  // namespace

Reducer::Reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes)
    : device_(&device),
      mesh_(&mesh),
      parameters_(parameters.begin(), parameters.end()),
      bucket_elements_(std::max<int64_t>(1, bucket_bytes / 4)) {
  find_tied();
}

// Which stages have a copy of which tied parameter: they tell each other their names. Parameters of the same stages
// share a group, and those of all stages have the pipeline's: each group is a communicator, which costs memory.
void Reducer::find_tied() {
  std::string mine;
  for (const Parameter* parameter : parameters_) {
    if (parameter->is_tied) mine += parameter->name + kSeparator;
  }
  Group& pp = mesh_->pp();
  if (pp.size() == 1) return;
  const std::vector<std::string> all = pp.all_gather_string(mine);
  std::map<std::string, std::vector<bool>> stages_of;  // by name: which stages have it
  for (std::size_t stage = 0; stage < all.size(); ++stage) {
    const std::string& list = all[stage];
    for (std::size_t begin = 0, end = 0; (end = list.find(kSeparator, begin)) != std::string::npos; begin = end + 1) {
      std::vector<bool>& stages = stages_of[list.substr(begin, end - begin)];
      stages.resize(all.size());
      stages[stage] = true;
    }
  }
  const auto own_stage = static_cast<std::size_t>(pp.rank());
  std::map<std::vector<bool>, Group*> group_of;
  for (const auto& [name, stages] : stages_of) {
    const auto count = std::count(stages.begin(), stages.end(), true);
    if (count == 1) continue;
    const auto [found, is_new] = group_of.emplace(stages, &pp);
    if (is_new && count < pp.size()) {
      groups_.push_back(pp.split(stages[own_stage] ? 0 : -1, pp.rank(), "stages of " + name));
      found->second = groups_.back().get();
    }
    if (!stages[own_stage]) continue;
    const auto parameter =
        std::find_if(parameters_.begin(), parameters_.end(), [&](const Parameter* one) { return one->name == name; });
    (*parameter)->is_first_copy = found->second->rank() == 0;
    tied_.push_back({*parameter, found->second});
  }
}

void Reducer::begin_step() {
  next_ = 0;
  for (const Bucket& bucket : buckets_) {
    TRIPTYCH_CHECK(!bucket.pending, "a step began before the last one's gradients were complete");
  }
  for (Parameter* parameter : parameters_) parameter->gradient.reset();
}

// What the first step has shown becomes the plan of all.
void Reducer::arrange() {
  std::map<Group*, std::size_t> open;  // the bucket being filled; looked up, never iterated
  std::vector<int64_t> sizes;
  for (auto it = parameters_.rbegin(); it != parameters_.rend(); ++it) {
    Parameter& parameter = **it;
    if (!parameter.is_trained) continue;
    const Layout layout = parameter.gradient.empty() ? Layout() : parameter.gradient.layout();
    Group* const ranks = summing_group(layout, *mesh_);
    const int64_t count = parameter.value.num_elements();
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
      member.parameter->gradient.move_to(bucket.memory.slice(0, offset, value.num_elements()).view(value.shape()));
      offset += round_up(value.num_elements(), kAlignedElements);
    }
  }
}

bool Reducer::is_ready(const Bucket& bucket) const {
  return std::all_of(bucket.members.begin(), bucket.members.end(),
                     [](const Member& member) { return member.parameter->gradient.num_uses() >= member.num_uses; });
}

void Reducer::start(Bucket& bucket) {
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

void Reducer::poll() {
  while (next_ < buckets_.size() && is_ready(buckets_[next_])) start(buckets_[next_++]);
  mesh_->progress();
}

void Reducer::finish() {
  if (buckets_.empty()) arrange();
  while (next_ < buckets_.size()) start(buckets_[next_++]);
  for (Bucket& bucket : buckets_) {
    if (bucket.pending) bucket.pending->wait();
    bucket.pending.reset();
  }
  // In the order of the names, which is the same on every stage; that of the buckets need not be.
  for (const Tied& tied : tied_) {
    if (!tied.parameter->is_trained) continue;
    const Tensor& sum = tied.parameter->gradient.tensor();
    tied.stages->all_reduce(sum.raw(), sum.num_elements(), DType::kFloat32, ReduceOp::kSum)->wait();
  }
}

}  // namespace triptych::autograd
