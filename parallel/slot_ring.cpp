#include "parallel/slot_ring.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/checked.h"
#include "base/error.h"

namespace triptych::parallel {

// Each rank writes its own and reads the others'. A count says how many steps have passed the stage.
struct alignas(128) SlotRing::Counters {
  std::atomic<int64_t> filled, combined, drained;
};

struct alignas(128) SlotRing::SlotHeader {
  Operation operation;  // its pointers mean nothing to the others
};

class SlotRing::StagedFlight : public Flight {
 public:
  StagedFlight(SlotRing& owner, const Operation& operation, int64_t first, int64_t piece)
      : Flight(owner.progress_, owner.identity_, operation),
        owner_(&owner),
        first_step(first),
        piece_elements(piece),
        num_steps(std::max<int64_t>(1, ceil_div(operation.count, piece))) {}

  int64_t begin(int64_t step) const { return (step - first_step) * piece_elements; }
  int64_t length(int64_t step) const { return std::min(piece_elements, operation().count - begin(step)); }
  int64_t last_step() const { return first_step + num_steps; }
  Piece piece(int64_t step) const {
    return {.operation = operation(), .step = step, .begin = begin(step), .length = length(step)};
  }

  // The owner keeps its flights alive until they are finished or it dies, and only unfinished ones are asked these.
  std::string missing() const override {
    const int64_t step = owner_->drained_;
    std::string text = seats_text([step](const Counters& of) { return of.filled.load() <= step; });
    if (text.empty()) text = owner_->missing_elsewhere(step);
    if (text.empty()) text = seats_text([step](const Counters& of) { return of.combined.load() <= step; });
    return text;
  }
  void check_peers_alive() const override {
    for (int seat = 0; seat < owner_->num_members(); ++seat) {
      if (seat == owner_->seat_ || owner_->counters(seat).combined.load() > owner_->drained_) continue;
      const Member& member = owner_->members_[static_cast<std::size_t>(seat)];
      check_alive(*member.bell, member.rank);
    }
  }

 private:
  template <typename Predicate>
  std::string seats_text(const Predicate& is_missing) const {
    std::string text;
    for (int seat = 0; seat < owner_->num_members(); ++seat) {
      if (seat == owner_->seat_ || !is_missing(owner_->counters(seat))) continue;
      text += fmt::format("{}{}", text.empty() ? "" : ", ",
                          identity().rank_text(owner_->members_[static_cast<std::size_t>(seat)].rank));
    }
    return text;
  }
  SlotRing* owner_;

 public:
  const int64_t first_step, piece_elements, num_steps;
};

std::size_t SlotRing::segment_bytes(int num_members, const Sizes& sizes) {
  const std::size_t slots = static_cast<std::size_t>(sizes.num_slots);
  return static_cast<std::size_t>(num_members) *
         (sizeof(Counters) + slots * (sizeof(SlotHeader) + static_cast<std::size_t>(sizes.slot_bytes)));
}

SlotRing::SlotRing(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                   std::shared_ptr<void> keep, std::byte* base, std::vector<Member> members, const Sizes& sizes)
    : identity_(std::move(identity)),
      progress_(std::move(progress)),
      keep_(std::move(keep)),
      base_(base),
      members_(std::move(members)),
      sizes_(sizes),
      is_combined_(static_cast<std::size_t>(sizes.num_slots)) {
  static_assert(std::atomic<int64_t>::is_always_lock_free && std::is_trivially_copyable_v<Operation>);
  TRIPTYCH_CHECK(sizes.slot_bytes % 128 == 0, "slots of {} bytes", sizes.slot_bytes);
  const auto own = std::find_if(members_.begin(), members_.end(),
                                [this](const Member& member) { return member.rank == identity_->rank; });
  TRIPTYCH_CHECK(own != members_.end(), "rank {} has no seat", identity_->rank);
  seat_ = static_cast<int>(own - members_.begin());
  progress_->add(this);
}

SlotRing::~SlotRing() {
  progress_->remove(this);
  fail_all(std::make_exception_ptr(InternalError(identity_->where(), "was destroyed with an operation in flight")));
}

SlotRing::Counters& SlotRing::counters(int seat) const {
  return reinterpret_cast<Counters*>(base_)[seat];
}

SlotRing::SlotHeader& SlotRing::header(int seat, int64_t step) const {
  std::byte* const headers = base_ + members_.size() * sizeof(Counters);
  return reinterpret_cast<SlotHeader*>(headers)[seat * sizes_.num_slots + step % sizes_.num_slots];
}

std::byte* SlotRing::slot(int seat, int64_t step) const {
  const int64_t num_headers = num_members() * sizes_.num_slots;
  std::byte* const slots =
      base_ + members_.size() * sizeof(Counters) + static_cast<std::size_t>(num_headers) * sizeof(SlotHeader);
  return slots + (seat * sizes_.num_slots + step % sizes_.num_slots) * sizes_.slot_bytes;
}

SlotRing::StagedFlight& SlotRing::flight_of(int64_t step) const {
  for (const auto& flight : flights_) {
    if (step < flight->last_step()) return *flight;
  }
  throw InternalError(identity_->where(), fmt::format("step {} of {} is nobody's", step, end_));
}

std::shared_ptr<Pending> SlotRing::start(const Operation& operation) {
  if (failure_) std::rethrow_exception(failure_);
  auto flight = std::make_shared<StagedFlight>(*this, operation, end_, piece_elements(operation));
  end_ = flight->last_step();
  flights_.push_back(flight);
  advance();
  return flight;
}

bool SlotRing::advance() {
  bool moved = false;
  try {
    // Draining frees slots for the peers, so it comes before filling more than the first time.
    while (true) {
      const bool filled = try_fill(), combined = try_combine(), drained = try_drain();
      if (!filled && !combined && !drained) break;
      moved = true;
    }
  } catch (const Error&) {
    fail_all(std::current_exception());
    moved = true;
  }
  return moved;
}

bool SlotRing::try_fill() {
  if (filled_ == end_) return false;
  for (int r = 0; r < num_members(); ++r) {
    if (r != seat_ && counters(r).drained.load() + sizes_.num_slots <= filled_) return false;
  }
  if (drained_ + sizes_.num_slots <= filled_) return false;
  const StagedFlight& flight = flight_of(filled_);
  header(seat_, filled_).operation = flight.operation();
  fill(flight.piece(filled_));
  counters(seat_).filled.store(++filled_);
  // A piece that is not summed in parts has nothing to combine, so its two stages are one.
  if (combined_ == filled_ - 1 && !combines(flight.operation())) counters(seat_).combined.store(++combined_);
  ring_peers();
  return true;
}

bool SlotRing::try_combine() {
  const auto is_combined = [this](int64_t step) {
    return is_combined_[static_cast<std::size_t>(step % sizes_.num_slots)];
  };
  const int64_t before = combined_;
  bool all_before_are = true;
  for (int64_t step = combined_; step < filled_; ++step) {
    if (!is_combined(step)) {
      const StagedFlight& flight = flight_of(step);
      if (combines(flight.operation())) {
        if (!all_agree_on(step)) break;
        is_combined(step) = combine(flight.piece(step));
      } else {
        is_combined(step) = true;
      }
    }
    all_before_are = all_before_are && is_combined(step);
    if (!all_before_are) continue;
    is_combined(step) = false;  // for the slot's next step
    counters(seat_).combined.store(++combined_);
  }
  if (combined_ == before) return false;
  ring_peers();
  return true;
}

bool SlotRing::try_drain() {
  if (drained_ == combined_ || !all_agree_on(drained_)) return false;
  for (int r = 0; r < num_members(); ++r) {
    if (counters(r).combined.load() <= drained_) return false;
  }
  StagedFlight& flight = flight_of(drained_);
  drain(flight.piece(drained_));
  counters(seat_).drained.store(++drained_);
  if (drained_ == flight.last_step()) {
    flight.complete();
    flights_.pop_front();
  }
  for (int r = 0; r < num_members(); ++r) {  // those who may wait for the slot
    if (r != seat_ && counters(r).filled.load() >= drained_ - 1 + sizes_.num_slots) {
      members_[static_cast<std::size_t>(r)].bell->ring();
    }
  }
  return true;
}

// False while some rank has not come to the step; throws if one came with something else. It is asked before any stage
// that waits, so that all ranks find a disagreement, whatever stages each of them expects.
bool SlotRing::all_agree_on(int64_t step) {
  if (step < agreed_) return true;
  for (int r = 0; r < num_members(); ++r) {
    if (counters(r).filled.load() <= step) return false;
  }
  const Operation& mine = header(seat_, step).operation;
  bool agree = true;
  for (int r = 0; r < num_members(); ++r) agree = agree && header(r, step).operation.agrees_with(mine);
  if (agree) {
    agreed_ = step + 1;
    return true;
  }
  std::vector<Call> calls;
  for (int r = 0; r < num_members(); ++r) {
    calls.push_back({.rank = members_[static_cast<std::size_t>(r)].rank, .operation = header(r, step).operation});
  }
  refuse(calls);
}

void SlotRing::refuse(const std::vector<Call>& calls) const {
  std::string text;
  for (const auto& [rank, called] : calls) {
    text += fmt::format("; {}: number {}, {}", identity_->rank_text(rank), called.sequence, called.to_string());
  }
  throw InternalError(identity_->where(),
                      fmt::format("the ranks must call the same with the same count and type{}", text));
}

void SlotRing::ring_peers() {
  for (int r = 0; r < num_members(); ++r) {
    if (r != seat_) members_[static_cast<std::size_t>(r)].bell->ring();
  }
}

void SlotRing::fail_all(std::exception_ptr failure) {
  failure_ = failure;
  for (const auto& flight : flights_) flight->fail(failure);
  flights_.clear();
}

void copy_elements(void* to, const void* from, int64_t length, DType dtype) {
  if (length > 0) std::memcpy(to, from, static_cast<std::size_t>(length) * dtype_bytes(dtype));
}

const std::byte* element_at(const void* base, int64_t element, DType dtype) {
  return static_cast<const std::byte*>(base) + static_cast<std::size_t>(element) * dtype_bytes(dtype);
}

std::byte* element_at(void* base, int64_t element, DType dtype) {
  return static_cast<std::byte*>(base) + static_cast<std::size_t>(element) * dtype_bytes(dtype);
}

Part part_of(int64_t length, int size, int index) {
  const int64_t part = round_up(ceil_div(length, size), kPartAlignment);
  const int64_t begin = std::min(length, part * index);
  return {begin, std::min(part, length - begin)};
}

}  // namespace triptych::parallel
