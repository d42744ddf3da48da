#include "autograd/reducer.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

namespace triptych::autograd {
namespace {

// The ranks over which a gradient of this layout is to be summed, or null.
Group* summing_group(const Layout& layout, Mesh& mesh) {
  const AxisSet axes = layout.partial_axes();
  return axes.empty() ? nullptr : &mesh.group(axes);
}

constexpr char kSeparator = '\n';  // no name has it

}  // namespace

Reducer::Reducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes)
    : device_(&device),
      mesh_(&mesh),
      parameters_(parameters.begin(), parameters.end()),
      bucket_elements_(std::max<int64_t>(1, bucket_bytes / 4)) {
  find_tied();
}

// Which stages have a copy of which tied parameter: they tell each other their names, and each set becomes a group.
void Reducer::find_tied() {
  std::string mine;
  for (const Parameter* parameter : parameters_) {
    if (parameter->is_tied) mine += parameter->name + kSeparator;
  }
  Group& pp = mesh_->pp();
  if (pp.size() == 1) return;
  const std::vector<std::string> all = pp.all_gather_string(mine);
  std::set<std::string> names;
  const auto has = [](const std::string& list, const std::string& name) {
    return (kSeparator + list).find(kSeparator + name + kSeparator) != std::string::npos;
  };
  for (const std::string& list : all) {
    for (std::size_t begin = 0, end = 0; (end = list.find(kSeparator, begin)) != std::string::npos; begin = end + 1) {
      names.insert(list.substr(begin, end - begin));
    }
  }
  for (const std::string& name : names) {
    const bool is_mine = has(mine, name);
    std::unique_ptr<Group> stages = pp.split(is_mine ? 0 : -1, pp.rank(), "stages of " + name);
    if (!is_mine || stages->size() == 1) continue;
    const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                    [&](const Parameter* parameter) { return parameter->name == name; });
    (*found)->is_first_copy = stages->rank() == 0;
    tied_.push_back({*found, std::move(stages)});
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
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    Bucket& bucket = buckets_[i];
    bucket.memory = Tensor::empty(*device_, DType::kFloat32, Shape{sizes[i]}, MemoryPart::kGradients);
    int64_t offset = 0;
    for (const Member& member : bucket.members) {
      const Tensor& value = member.parameter->value;
      member.parameter->gradient.move_to(bucket.memory.slice(0, offset, value.num_elements()).view(value.shape()));
      offset += value.num_elements();
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
    const Tensor& sum = tied.parameter->gradient.tensor();
    tied.stages->all_reduce(sum.raw(), sum.num_elements(), DType::kFloat32, ReduceOp::kSum)->wait();
  }
}

}  // namespace triptych::autograd
