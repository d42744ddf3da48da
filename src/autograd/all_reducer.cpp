#include "autograd/all_reducer.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <string>
#include <utility>

#include "base/checked.h"
#include "base/hash.h"
#include "kernels/elementwise.h"
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

// Buckets in 16 bits that may be on their way at once: each has memory for what it sends and what it gets.
constexpr std::size_t kMostFlights = 2;

}  // namespace

AllReducer::AllReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes,
                       DType wire)
    : device_(&device),
      mesh_(&mesh),
      parameters_(parameters.begin(), parameters.end()),
      tied_(mesh, parameters),
      bucket_elements_(std::max<int64_t>(1, bucket_bytes / 4)),
      wire_(wire) {
  relearn();
}

AllReducer::~AllReducer() {
  for (Parameter* parameter : parameters_) parameter->gradient.watch(nullptr, 0);
  for (Bucket& bucket : buckets_) {  // of a step that failed
    try {
      if (bucket.pending) bucket.pending->wait();
      if (bucket.halves) bucket.halves->wait();
    } catch (const Error&) {  // whoever uses the group next meets the same failure
    }
  }
}

void AllReducer::require_nothing_on_its_way() const {
  for (const Bucket& bucket : buckets_) {
    TRIPTYCH_CHECK(!bucket.pending && !bucket.halves, "a step began before the last one's gradients were complete");
  }
}

void AllReducer::relearn() {
  require_nothing_on_its_way();
  has_plan_ = false;
  buckets_.clear();
  for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i]->gradient.watch(&changed_, i);
}

void AllReducer::begin_step() {
  require_nothing_on_its_way();
  next_ = 0;
  changed_.clear();
  for (Parameter* parameter : parameters_) parameter->gradient.reset();
}

// Those that are trained; first, last ones first, what no backward has reached, which waits for nothing.
std::vector<Parameter*> AllReducer::order_of_completion() const {
  std::vector<std::size_t> last_change(parameters_.size(), 0);
  for (std::size_t k = 0; k < changed_.size(); ++k) last_change[changed_[k]] = k + 1;
  std::vector<std::size_t> order;
  for (std::size_t i = parameters_.size(); i-- > 0;) {
    if (parameters_[i]->is_trained) order.push_back(i);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return last_change[a] < last_change[b]; });
  std::vector<Parameter*> parameters;
  for (const std::size_t i : order) parameters.push_back(parameters_[i]);
  return parameters;
}

// Ranks that sum in different orders would add up what has nothing to do with each other.
void AllReducer::require_same_order(const std::vector<Parameter*>& order) const {
  std::string names;
  for (const Parameter* parameter : order) names += parameter->name + '\n';
  const std::string own = hash128(std::as_bytes(std::span(names))).hex();
  const std::vector<std::string> all = mesh_->world().all_gather_string(own);
  for (int rank = 0; rank < mesh_->world().size(); ++rank) {
    TRIPTYCH_CHECK(mesh_coordinate(mesh_->shape(), rank).pp != mesh_->coordinate().pp ||
                       all[static_cast<std::size_t>(rank)] == own,
                   "gradients must become complete in one order on all ranks of a stage, rank {} has another one",
                   rank);
  }
}

// What the first step has shown becomes the plan of all.
void AllReducer::arrange() {
  const std::vector<Parameter*> order = order_of_completion();
  require_same_order(order);
  has_plan_ = true;
  for (Parameter* parameter : parameters_) parameter->gradient.watch(nullptr, 0);
  changed_.clear();
  std::map<Group*, std::size_t> open;  // the bucket being filled; looked up, never iterated
  std::vector<int64_t> sizes;
  std::vector<std::size_t> complete_at;  // of each bucket: the place of its last member in the order
  for (std::size_t k = 0; k < order.size(); ++k) {
    Parameter& parameter = *order[k];
    const Layout layout = parameter.gradient.empty() ? Layout() : parameter.gradient.layout();
    Group* const ranks = summing_group(layout, *mesh_);
    // Ranks that share a sum fill their buckets alike, whatever is ragged of what they hold.
    const int64_t count = largest_piece(parameter.global_shape, parameter.layout, mesh_->shape()).num_elements();
    const auto found = open.find(ranks);
    if (found == open.end() || sizes[found->second] + count > bucket_elements_) {
      open[ranks] = buckets_.size();
      buckets_.push_back({.group = ranks, .is_over_dp = layout.partial_axes().contains(Axis::kDp)});
      sizes.push_back(0);
      complete_at.push_back(k);
    }
    const std::size_t index = open[ranks];
    buckets_[index].members.push_back({&parameter, layout, parameter.gradient.num_uses()});
    sizes[index] += count;
    complete_at[index] = k;
  }
  std::vector<std::size_t> starts(buckets_.size());
  std::iota(starts.begin(), starts.end(), 0);
  std::sort(starts.begin(), starts.end(),
            [&](std::size_t a, std::size_t b) { return complete_at[a] < complete_at[b]; });
  std::vector<Bucket> sorted;
  for (const std::size_t index : starts) sorted.push_back(std::move(buckets_[index]));
  buckets_ = std::move(sorted);
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
  if (bucket.group == nullptr) return;
  if (bucket.is_over_dp && wire_ != DType::kFloat32) {
    start_halves(bucket);
  } else {
    bucket.pending =
        bucket.group->all_reduce(bucket.memory.raw(), bucket.memory.num_elements(), DType::kFloat32, ReduceOp::kSum);
  }
}

void AllReducer::start_halves(Bucket& bucket) {
  for (Bucket* const flight : flights_) flight->halves->cross();
  if (flights_.size() >= kMostFlights) land();
  const Tensor sent = Tensor::empty(*device_, wire_, bucket.memory.shape(), MemoryPart::kGradients);
  cast(device_->stream(), bucket.memory.raw(), DType::kFloat32, sent.raw(), wire_, sent.num_elements());
  bucket.halves.emplace(sent, *bucket.group, wire_, MemoryPart::kGradients);
  flights_.push_back(&bucket);
}

// The oldest on its way has come.
void AllReducer::land() {
  Bucket& bucket = *flights_.front();
  flights_.pop_front();
  bucket.halves->finish(bucket.memory.raw(), DType::kFloat32);
  bucket.halves.reset();
}

void AllReducer::poll() {
  while (next_ < buckets_.size() && is_ready(buckets_[next_])) start(buckets_[next_++]);
  mesh_->progress();
  while (!flights_.empty() && flights_.front()->halves->test()) land();
}

void AllReducer::finish() {
  if (!has_plan_) arrange();
  while (next_ < buckets_.size()) start(buckets_[next_++]);
  for (Bucket* const flight : flights_) flight->halves->cross();
  while (!flights_.empty()) land();
  for (Bucket& bucket : buckets_) {
    if (bucket.pending) bucket.pending->wait();
    bucket.pending.reset();
  }
  tied_.sum();
}

}  // namespace triptych::autograd
