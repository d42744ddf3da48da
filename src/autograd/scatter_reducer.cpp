#include "autograd/scatter_reducer.h"

#include <algorithm>
#include <array>
#include <utility>

#include "kernels/elementwise.h"
#include "parallel/largest_piece.h"

namespace triptych::autograd {
namespace {

// Buckets that may be on their way at once; each has memory for its gradients and for what comes back.
constexpr std::size_t kMostFlights = 2;

AxisSet without_dp(AxisSet axes) {
  AxisSet result;
  for (const Axis axis : axes) {
    if (axis != Axis::kDp) result = result.with(axis);
  }
  return result;
}

}  // namespace

ScatterReducer::ScatterReducer(Device& device, Mesh& mesh, std::span<Parameter* const> parameters, int64_t bucket_bytes,
                               bool is_dispersed, DType wire)
    : device_(&device),
      mesh_(&mesh),
      tied_(mesh, parameters),
      bucket_elements_(std::max<int64_t>(1, bucket_bytes / 4)),
      is_dispersed_(is_dispersed),
      wire_(wire) {
  for (auto it = parameters.rbegin(); it != parameters.rend(); ++it) {
    places_.push_back({.parameter = *it,
                       .num_elements = largest_piece((*it)->global_shape, (*it)->layout, mesh.shape()).num_elements()});
    (*it)->gradient.watch(&changed_, places_.size() - 1);
  }
}

ScatterReducer::~ScatterReducer() {
  for (const Place& place : places_) place.parameter->gradient.watch(nullptr, 0);
  for (Flight& flight : flights_) {  // of a step that failed
    try {
      flight.pending->wait();
      if (flight.far_sums) flight.far_sums->wait();
    } catch (const Error&) {
    }
  }
}

void ScatterReducer::relearn() {
  for (Place& place : places_) place.num_uses = 0;
}

void ScatterReducer::begin_step() {
  TRIPTYCH_CHECK(flights_.empty(), "a step began before the last one's gradients were complete");
  for (Place& place : places_) {
    place.parameter->gradient.reset();
    place.others.reset();
    place.has_sum = false;
  }
  changed_.clear();
  for (std::set<std::size_t>& places : ready_) places.clear();
  ready_elements_.fill(0);
}

bool ScatterReducer::may_leave(const Place& place) const {
  const GradientSum& gradient = place.parameter->gradient;
  if (gradient.empty()) return false;
  return is_dispersed_ || (place.num_uses > 0 && gradient.num_uses() >= place.num_uses);
}

void ScatterReducer::poll() {
  mesh_->progress();
  const auto has_come = [](Flight& flight) {
    return flight.far_sums ? flight.far_sums->test() : flight.has_crossed && flight.pending->test();
  };
  while (!flights_.empty() && has_come(flights_.front())) land();
  if (!changed_.empty()) look_at_changed();
}

void ScatterReducer::look_at_changed() {
  for (const std::size_t i : changed_) {
    if (!may_leave(places_[i])) continue;
    const std::size_t axes = places_[i].parameter->gradient.layout().partial_axes().index();
    if (ready_[axes].insert(i).second) ready_elements_[axes] += places_[i].num_elements;
  }
  changed_.clear();
  for (std::size_t axes = 0; axes < ready_.size(); ++axes) {
    if (ready_elements_[axes] < bucket_elements_) continue;
    ready_elements_[axes] = 0;
    const std::set<std::size_t> places = std::exchange(ready_[axes], {});
    scatter(AxisSet::of_index(axes), {places.begin(), places.end()});
  }
}

// Sends what there is of these gradients, all Partial on `axes`, on its way.
void ScatterReducer::scatter(AxisSet axes, const std::vector<std::size_t>& places) {
  const AxisSet others = without_dp(axes);
  std::vector<Parameter*> parameters;
  std::vector<Tensor> gradients;
  for (const std::size_t i : places) {
    Place& place = places_[i];
    TRIPTYCH_CHECK(!place.others || *place.others == others,
                   "the gradient of {} comes out Partial on {}, before in this step also on {}", place.parameter->name,
                   axes.to_string(), place.others->to_string());
    place.others = others;
    parameters.push_back(place.parameter);
    gradients.push_back(place.parameter->gradient.drain().tensor.contiguous());
  }
  Group& group = mesh_->near_dp();
  const int num_ranks = group.size(), own = group.rank();
  PieceRows rows(std::move(parameters), num_ranks);
  if (!axes.contains(Axis::kDp)) {  // every rank has the same
    for (std::size_t k = 0; k < places.size(); ++k) {
      add_piece(places_[places[k]], rows.in_whole(gradients[k], k, own).contiguous());
    }
    return;
  }
  for (Flight& flight : flights_) cross(flight);
  while (flights_.size() >= kMostFlights) land();
  const int64_t row = rows.row_elements();
  // What lies between the pieces is summed with them: zeros.
  const Tensor sent = Tensor::zeros(*device_, wire_, Shape{num_ranks * row}, MemoryPart::kGradients);
  for (std::size_t k = 0; k < places.size(); ++k) rows.to_rows(gradients[k].to(wire_), k, sent);
  const Tensor received = Tensor::empty(*device_, DType::kFloat32, Shape{row}, MemoryPart::kGradients);
  Tensor summands;
  std::shared_ptr<Pending> pending;
  if (wire_ == DType::kFloat32) {
    pending = group.reduce_scatter(sent.raw(), received.raw(), row, DType::kFloat32, ReduceOp::kSum);
  } else {
    summands = Tensor::empty(*device_, wire_, Shape{num_ranks, row}, MemoryPart::kGradients);
    pending = group.all_to_all(sent.raw(), summands.raw(), row, wire_);
  }
  flights_.push_back({.rows = std::move(rows),
                      .places = places,
                      .sent = sent,
                      .received = received,
                      .summands = summands,
                      .pending = std::move(pending),
                      .has_crossed = mesh_->far_dp().size() == 1,
                      .far_sums = {}});
}

// Summed among near ranks, it is summed with what other neighbourhoods have. That begins where the program says, not
// when the first sum happens to be there: ranks must agree in which order their groups' operations stand.
void ScatterReducer::cross(Flight& flight) {
  if (flight.far_sums) return flight.far_sums->cross();
  if (std::exchange(flight.has_crossed, true)) return;
  receive(flight);
  Group& group = mesh_->far_dp();
  const Tensor& sums = flight.received;
  if (wire_ == DType::kFloat32) {
    flight.pending = group.all_reduce(sums.raw(), sums.num_elements(), DType::kFloat32, ReduceOp::kSum);
  } else {
    flight.far_sums.emplace(sums.to(wire_), group, wire_, MemoryPart::kGradients);
  }
}

// Waits for what is on its way, and leaves its sum in `received`.
void ScatterReducer::receive(Flight& flight) {
  if (flight.far_sums) return flight.far_sums->finish(flight.received.raw(), DType::kFloat32);
  flight.pending->wait();
  if (!flight.summands.defined()) return;
  sum_summands(flight.summands, flight.received.raw(), DType::kFloat32);
  flight.summands = Tensor();
}

// The oldest on its way has come.
void ScatterReducer::land() {
  Flight flight = std::move(flights_.front());
  flights_.pop_front();
  cross(flight);
  receive(flight);
  for (std::size_t k = 0; k < flight.places.size(); ++k) {
    add_piece(places_[flight.places[k]], flight.rows.in_row(flight.received, k, mesh_->near_dp().rank()));
  }
}

void ScatterReducer::add_piece(Place& place, const Tensor& piece) {
  Tensor& sum = place.parameter->reduced;
  if (!sum.defined()) sum = Tensor::empty(*device_, DType::kFloat32, piece.shape(), MemoryPart::kGradients);
  if (std::exchange(place.has_sum, true)) {
    add_into(device_->stream(), sum.raw(), piece.raw(), sum.num_elements(), DType::kFloat32);
  } else {
    sum.copy_from(piece);
  }
}

// Of those that ranks of other axes have summands of as well, as norms have under sequence parallelism: their pieces
// together, once a step.
void ScatterReducer::sum_over_others() {
  for (std::size_t axes = 1; axes < 8; ++axes) {
    std::vector<const Tensor*> pieces;
    int64_t count = 0;
    for (const Place& place : places_) {
      if (!place.others || place.others->index() != axes) continue;
      pieces.push_back(&place.parameter->reduced);
      count += pieces.back()->num_elements();
    }
    if (pieces.empty()) continue;
    const Tensor all = Tensor::empty(*device_, DType::kFloat32, Shape{count}, MemoryPart::kGradients);
    const auto each = [&](const auto& visit) {
      int64_t offset = 0;
      for (const Tensor* piece : pieces) {
        visit(*piece, all.slice(0, offset, piece->num_elements()).view(piece->shape()));
        offset += piece->num_elements();
      }
    };
    each([](const Tensor& piece, Tensor place) { place.copy_from(piece); });
    mesh_->group(AxisSet::of_index(axes)).all_reduce(all.raw(), count, DType::kFloat32, ReduceOp::kSum)->wait();
    each([](Tensor piece, const Tensor& place) { piece.copy_from(place); });
  }
}

void ScatterReducer::finish() {
  std::array<std::vector<std::size_t>, 8> left;
  for (std::size_t i = 0; i < places_.size(); ++i) {
    Place& place = places_[i];
    const GradientSum& gradient = place.parameter->gradient;
    place.num_uses = std::max(1, gradient.num_uses());
    if (!gradient.empty()) left[gradient.layout().partial_axes().index()].push_back(i);
  }
  for (std::size_t axes = 0; axes < left.size(); ++axes) {
    std::vector<std::size_t> bucket;
    int64_t elements = 0;
    for (const std::size_t i : left[axes]) {
      const int64_t count = places_[i].num_elements;
      if (!bucket.empty() && elements + count > bucket_elements_) {
        scatter(AxisSet::of_index(axes), std::exchange(bucket, {}));
        elements = 0;
      }
      bucket.push_back(i);
      elements += count;
    }
    if (!bucket.empty()) scatter(AxisSet::of_index(axes), bucket);
  }
  for (Flight& flight : flights_) cross(flight);
  while (!flights_.empty()) land();
  for (Place& place : places_) {
    Parameter& parameter = *place.parameter;
    if (place.has_sum || !parameter.is_trained) continue;
    add_piece(place, Tensor::zeros(*device_, DType::kFloat32, parameter.value.shape(), MemoryPart::kGradients));
  }
  sum_over_others();
  tied_.sum();
}

}  // namespace triptych::autograd
