#include "autograd/sharded_weights.h"

#include <algorithm>
#include <optional>

#include "kernels/elementwise.h"

namespace triptych::autograd {
namespace {

// A unit is kept from one read to the next if no more than so many others are read in between: the blocks of two
// towers take turns in backward.
constexpr std::size_t kMostBetween = 2;

}  // namespace

ShardedWeights::ShardedWeights(Device& device, Mesh& mesh, const std::vector<std::vector<Parameter*>>& units,
                               bool is_freed)
    : device_(&device), mesh_(&mesh), is_freed_(is_freed) {
  for (const std::vector<Parameter*>& parameters : units) {
    std::map<DType, std::vector<Parameter*>> by_type;
    for (Parameter* parameter : parameters) by_type[parameter->compute.dtype()].push_back(parameter);
    Unit& unit = units_.emplace_back();
    for (auto& [dtype, of_type] : by_type) unit.rows.emplace_back(std::move(of_type), mesh.near_dp().size());
    arm(units_.size() - 1);
  }
}

ShardedWeights::~ShardedWeights() {
  for (Unit& unit : units_) {
    if (unit.state != State::kHere) disarm(unit);
    for (const std::shared_ptr<Pending>& pending : unit.pending) {
      try {
        pending->wait();
      } catch (const Error&) {  // whoever uses the group next meets the same failure
      }
    }
  }
}

// Whoever reads one of the unit's tensors makes it come.
void ShardedWeights::arm(std::size_t index) {
  for (const PieceRows& rows : units_[index].rows) {
    for (Parameter* parameter : rows.parameters()) {
      parameter->compute.set_pending([this, index] { on_read(index); });
    }
  }
}

void ShardedWeights::disarm(Unit& unit) {
  for (const PieceRows& rows : unit.rows) {
    for (Parameter* parameter : rows.parameters()) parameter->compute.clear_pending();
  }
}

void ShardedWeights::values_changed() {
  TRIPTYCH_CHECK(!is_held_, "weights change while they are held");
  for (std::size_t i = 0; i < units_.size(); ++i) {
    Unit& unit = units_[i];
    if (unit.state == State::kAway) continue;
    if (unit.state == State::kComing) complete(unit);
    if (is_freed_) {
      give_up(i);
      continue;
    }
    unit.state = State::kAway;
    here_.erase(i);
    arm(i);
  }
}

void ShardedWeights::relearn() {
  has_plan_ = false;
}

void ShardedWeights::begin_step() {
  is_in_step_ = true;
  tick_ = 0;
  next_gather_ = 0;
  reads_.clear();
}

void ShardedWeights::end_step() {
  is_in_step_ = false;
  if (!has_plan_) make_plan();
  if (!is_freed_) return;
  for (const std::size_t unit : std::set<std::size_t>(here_)) give_up(unit);
}

void ShardedWeights::tick() {
  ++tick_;
  if (!is_freed_ || is_held_) return;
  if (is_in_step_ && has_plan_) {
    const auto found = frees_.find(tick_);
    if (found == frees_.end()) return;
    for (const std::size_t unit : found->second) {
      if (here_.contains(unit)) give_up(unit);
    }
    return;
  }
  for (const std::size_t unit : std::set<std::size_t>(here_)) give_up(unit);
}

void ShardedWeights::hold() {
  TRIPTYCH_CHECK(!is_in_step_ && !is_held_, "weights are held between steps, once at a time");
  is_held_ = true;
  for (std::size_t i = 0; i < units_.size(); ++i) {
    if (units_[i].state == State::kAway) start(i);
    if (units_[i].state == State::kComing) complete(units_[i]);
    here_.insert(i);
  }
}

void ShardedWeights::release() {
  is_held_ = false;
  if (!is_freed_) return;
  for (const std::size_t unit : std::set<std::size_t>(here_)) give_up(unit);
}

void ShardedWeights::on_read(std::size_t index) {
  Unit& unit = units_[index];
  if (is_in_step_ && !has_plan_) reads_.push_back({tick_, index});
  if (unit.state == State::kAway) start(index);
  complete(unit);
  here_.insert(index);
  if (!is_in_step_ || !has_plan_) return;
  if (next_gather_ < gathers_.size() && gathers_[next_gather_] == index) ++next_gather_;
  if (next_gather_ < gathers_.size() && units_[gathers_[next_gather_]].state == State::kAway) {
    start(gathers_[next_gather_]);
  }
}

void ShardedWeights::start(std::size_t index) {
  Unit& unit = units_[index];
  Group& group = mesh_->near_dp();
  const int num_ranks = group.size(), own = group.rank();
  Stream& stream = device_->stream();
  for (const PieceRows& rows : unit.rows) {
    const DType dtype = rows.parameters()[0]->compute.dtype();
    const Tensor all =
        Tensor::empty(*device_, dtype, Shape{num_ranks * rows.row_elements()}, MemoryPart::kComputeCopies);
    const Tensor mine = Tensor::zeros(*device_, dtype, Shape{rows.row_elements()}, MemoryPart::kComputeCopies);
    for (std::size_t i = 0; i < rows.parameters().size(); ++i) {
      const Tensor& value = rows.parameters()[i]->value;
      const Tensor place = rows.in_row(mine, i, own);
      cast(stream, value.raw(), value.dtype(), place.raw(), dtype, value.num_elements());
    }
    unit.pending.push_back(group.all_gather(mine.raw(), all.raw(), rows.row_elements(), dtype));
    unit.received.push_back(all);
    unit.received.push_back(mine);  // borrowed until it is done
  }
  unit.state = State::kComing;
}

// What was gathered goes to its places.
void ShardedWeights::complete(Unit& unit) {
  for (const std::shared_ptr<Pending>& pending : unit.pending) pending->wait();
  unit.pending.clear();
  disarm(unit);
  unit.state = State::kHere;
  for (std::size_t k = 0; k < unit.rows.size(); ++k) {
    const PieceRows& rows = unit.rows[k];
    for (std::size_t i = 0; i < rows.parameters().size(); ++i) {
      Tensor& whole = rows.parameters()[i]->compute;
      whole.provide_memory(MemoryPart::kComputeCopies);
      rows.from_rows(unit.received[2 * k], i, whole);
    }
  }
  unit.received.clear();
}

void ShardedWeights::give_up(std::size_t index) {
  Unit& unit = units_[index];
  unit.state = State::kAway;
  here_.erase(index);
  for (const PieceRows& rows : unit.rows) {
    for (Parameter* parameter : rows.parameters()) parameter->compute.drop_memory();
  }
  arm(index);
}

// From the reads of a step in which a unit was given up after every tick, or, if weights are kept, came once.
void ShardedWeights::make_plan() {
  gathers_.clear();
  frees_.clear();
  has_plan_ = true;
  std::map<std::size_t, std::size_t> last;  // read of each unit
  for (std::size_t k = 0; k < reads_.size(); ++k) {
    const auto [tick, unit] = reads_[k];
    const auto before = last.find(unit);
    bool stays = before != last.end();
    if (stays) {
      std::set<std::size_t> between;
      for (std::size_t j = before->second + 1; j < k; ++j) between.insert(reads_[j].unit);
      stays = between.size() <= kMostBetween;
      if (!stays) frees_[reads_[before->second].tick + 1].push_back(unit);
    }
    if (!stays) gathers_.push_back(unit);
    last[unit] = k;
  }
  for (const auto& [unit, read] : last) frees_[reads_[read].tick + 1].push_back(unit);
}

}  // namespace triptych::autograd
