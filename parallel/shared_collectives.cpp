#include "parallel/shared_collectives.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstring>

#include "base/checked.h"
#include "base/error.h"
#include "parallel/peer_error.h"
#include "parallel/reduce.h"

namespace triptych::parallel {

namespace {
constexpr int64_t kPartAlignment = 16;  // elements; keeps the parts of a piece on cache lines of their own
}

// Each rank writes its own and reads the others'. A count says how many steps have passed the stage.
struct alignas(128) SharedCollectives::Counters {
  std::atomic<int64_t> filled, combined, drained;
};

struct alignas(128) SharedCollectives::SlotHeader {
  Operation operation;  // its pointers mean nothing to the others
};

class SharedCollectives::StagedFlight : public Flight {
 public:
  StagedFlight(SharedCollectives& owner, const Operation& operation, int64_t first, int64_t piece)
      : Flight(owner.progress_, owner.identity_, operation),
        owner_(&owner),
        first_step(first),
        piece_elements(piece),
        num_steps(std::max<int64_t>(1, ceil_div(operation.count, piece))) {}

  int64_t begin(int64_t step) const { return (step - first_step) * piece_elements; }
  int64_t length(int64_t step) const { return std::min(piece_elements, operation().count - begin(step)); }
  int64_t last_step() const { return first_step + num_steps; }

  // The owner keeps its flights alive until they are finished or it dies, and only unfinished ones are asked these.
  std::string missing() const override {
    std::string text;
    for_missing([&](int rank) { text += fmt::format("{}{}", text.empty() ? "" : ", ", identity().rank_text(rank)); });
    return text;
  }
  void check_peers_alive() const override {
    for_missing([&](int rank) {
      const int process = owner_->bells_[static_cast<std::size_t>(rank)]->process.load();
      if (process == 0 || kill(process, 0) == 0 || errno != ESRCH) return;
      throw PeerError(
          identity().where(),
          fmt::format("number {}, {}, waits for {}, whose process {} has died. Look at what it printed last",
                      operation().sequence, operation().to_string(), identity().rank_text(rank), process),
          to_string());
    });
  }

 private:
  template <typename Visit>
  void for_missing(const Visit& visit) const {
    for (int rank = 0; rank < owner_->size_; ++rank) {
      if (rank != owner_->rank_ && owner_->counters(rank).combined.load() <= owner_->drained_) visit(rank);
    }
  }
  SharedCollectives* owner_;

 public:
  const int64_t first_step, piece_elements, num_steps;
};

std::size_t SharedCollectives::segment_bytes(int size, const Options& options) {
  const std::size_t slots = static_cast<std::size_t>(options.num_slots);
  return static_cast<std::size_t>(size) *
         (sizeof(Counters) + slots * (sizeof(SlotHeader) + static_cast<std::size_t>(options.slot_bytes)));
}

SharedCollectives::SharedCollectives(std::shared_ptr<const GroupIdentity> identity, std::shared_ptr<Progress> progress,
                                     std::shared_ptr<void> keep, std::byte* base, std::vector<Doorbell*> bells,
                                     const Options& options)
    : identity_(std::move(identity)),
      progress_(std::move(progress)),
      keep_(std::move(keep)),
      base_(base),
      bells_(std::move(bells)),
      options_(options),
      rank_(identity_->rank),
      size_(identity_->size()) {
  static_assert(std::atomic<int64_t>::is_always_lock_free && std::is_trivially_copyable_v<Operation>);
  TRIPTYCH_CHECK(options.slot_bytes % 128 == 0 && options.slot_bytes >= size_ * kPartAlignment * 8,
                 "slots of {} bytes for {} ranks", options.slot_bytes, size_);
  TRIPTYCH_CHECK(static_cast<int>(bells_.size()) == size_, "{} doorbells for {} ranks", bells_.size(), size_);
  progress_->add(this);
}

SharedCollectives::~SharedCollectives() {
  progress_->remove(this);
  fail_all(std::make_exception_ptr(InternalError(identity_->where(), "was destroyed with an operation in flight")));
}

SharedCollectives::Counters& SharedCollectives::counters(int rank) const {
  return reinterpret_cast<Counters*>(base_)[rank];
}

SharedCollectives::SlotHeader& SharedCollectives::header(int rank, int64_t step) const {
  std::byte* const headers = base_ + static_cast<std::size_t>(size_) * sizeof(Counters);
  return reinterpret_cast<SlotHeader*>(headers)[rank * options_.num_slots + step % options_.num_slots];
}

std::byte* SharedCollectives::slot(int rank, int64_t step) const {
  const int64_t num_headers = static_cast<int64_t>(size_) * options_.num_slots;
  std::byte* const slots = base_ + static_cast<std::size_t>(size_) * sizeof(Counters) +
                           static_cast<std::size_t>(num_headers) * sizeof(SlotHeader);
  return slots + (rank * options_.num_slots + step % options_.num_slots) * options_.slot_bytes;
}

SharedCollectives::StagedFlight& SharedCollectives::flight_of(int64_t step) const {
  for (const auto& flight : flights_) {
    if (step < flight->last_step()) return *flight;
  }
  throw InternalError(identity_->where(), fmt::format("step {} of {} is nobody's", step, end_));
}

bool SharedCollectives::sums_in_parts(const Operation& operation) const {
  return operation.kind == Operation::Kind::kAllReduce && size_ > 2 &&
         operation.bytes() > static_cast<std::size_t>(options_.direct_bytes);
}

int64_t SharedCollectives::piece_elements(const Operation& operation) const {
  const int64_t slot_elements = options_.slot_bytes / static_cast<int64_t>(dtype_bytes(operation.dtype));
  const bool a_row_per_rank =
      operation.kind == Operation::Kind::kReduceScatter || operation.kind == Operation::Kind::kAllToAll;
  return a_row_per_rank ? slot_elements / size_ / kPartAlignment * kPartAlignment : slot_elements;
}

std::shared_ptr<Pending> SharedCollectives::start(const Operation& operation) {
  if (failure_) std::rethrow_exception(failure_);
  auto flight = std::make_shared<StagedFlight>(*this, operation, end_, piece_elements(operation));
  end_ = flight->last_step();
  flights_.push_back(flight);
  advance();
  return flight;
}

bool SharedCollectives::advance() {
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

bool SharedCollectives::try_fill() {
  if (filled_ == end_) return false;
  for (int r = 0; r < size_; ++r) {
    if (r != rank_ && counters(r).drained.load() + options_.num_slots <= filled_) return false;
  }
  if (drained_ + options_.num_slots <= filled_) return false;
  const StagedFlight& flight = flight_of(filled_);
  header(rank_, filled_).operation = flight.operation();
  fill(flight, filled_);
  counters(rank_).filled.store(++filled_);
  // A piece that is not summed in parts has nothing to combine, so its two stages are one.
  if (combined_ == filled_ - 1 && !sums_in_parts(flight.operation())) counters(rank_).combined.store(++combined_);
  ring_peers();
  return true;
}

bool SharedCollectives::try_combine() {
  if (combined_ == filled_) return false;
  const StagedFlight& flight = flight_of(combined_);
  if (sums_in_parts(flight.operation())) {
    if (!all_agree_on(combined_)) return false;
    combine(flight, combined_);
  }
  counters(rank_).combined.store(++combined_);
  ring_peers();
  return true;
}

bool SharedCollectives::try_drain() {
  if (drained_ == combined_ || !all_agree_on(drained_)) return false;
  for (int r = 0; r < size_; ++r) {
    if (counters(r).combined.load() <= drained_) return false;
  }
  StagedFlight& flight = flight_of(drained_);
  drain(flight, drained_);
  counters(rank_).drained.store(++drained_);
  if (drained_ == flight.last_step()) {
    flight.complete();
    flights_.pop_front();
  }
  for (int r = 0; r < size_; ++r) {  // those who may wait for the slot
    if (r != rank_ && counters(r).filled.load() >= drained_ - 1 + options_.num_slots) {
      bells_[static_cast<std::size_t>(r)]->ring();
    }
  }
  return true;
}

// False while some rank has not come to the step; throws if one came with something else. It is asked before any stage
// that waits, so that all ranks find a disagreement, whatever stages each of them expects.
bool SharedCollectives::all_agree_on(int64_t step) {
  if (step < agreed_) return true;
  for (int r = 0; r < size_; ++r) {
    if (counters(r).filled.load() <= step) return false;
  }
  const Operation& mine = header(rank_, step).operation;
  bool agree = true;
  for (int r = 0; r < size_; ++r) agree = agree && header(r, step).operation.agrees_with(mine);
  if (agree) {
    agreed_ = step + 1;
    return true;
  }
  std::string text;
  for (int r = 0; r < size_; ++r) {
    const Operation& called = header(r, step).operation;
    text += fmt::format("{} {}: number {}, {}", r == 0 ? "" : ";", identity_->rank_text(r), called.sequence,
                        called.to_string());
  }
  throw InternalError(identity_->where(),
                      fmt::format("the ranks must call the same with the same count and type;{}", text));
}

void SharedCollectives::ring_peers() {
  for (int r = 0; r < size_; ++r) {
    if (r != rank_) bells_[static_cast<std::size_t>(r)]->ring();
  }
}

void SharedCollectives::fail_all(std::exception_ptr failure) {
  failure_ = failure;
  for (const auto& flight : flights_) flight->fail(failure);
  flights_.clear();
}

namespace {

void copy(void* to, const void* from, int64_t count, DType dtype) {
  if (count > 0) std::memcpy(to, from, static_cast<std::size_t>(count) * dtype_bytes(dtype));
}

const std::byte* at(const void* base, int64_t element, DType dtype) {
  return static_cast<const std::byte*>(base) + static_cast<std::size_t>(element) * dtype_bytes(dtype);
}
std::byte* at(void* base, int64_t element, DType dtype) {
  return static_cast<std::byte*>(base) + static_cast<std::size_t>(element) * dtype_bytes(dtype);
}

// The part of a piece that one rank sums.
struct Part {
  int64_t begin, length;
};
Part part_of(int64_t length, int size, int rank) {
  const int64_t part = round_up(ceil_div(length, size), kPartAlignment);
  const int64_t begin = std::min(length, part * rank);
  return {begin, std::min(part, length - begin)};
}

}  // namespace

void SharedCollectives::fill(const StagedFlight& flight, int64_t step) {
  const Operation& op = flight.operation();
  const int64_t begin = flight.begin(step), length = flight.length(step);
  std::byte* const to = slot(rank_, step);
  switch (op.kind) {
    case Operation::Kind::kAllReduce:
      return copy(to, at(op.recv, begin, op.dtype), length, op.dtype);
    case Operation::Kind::kAllGather:
      return copy(to, at(op.send, begin, op.dtype), length, op.dtype);
    case Operation::Kind::kReduceScatter:
    case Operation::Kind::kAllToAll:
      for (int r = 0; r < size_; ++r) {  // row r of the slot is for rank r; this rank reads its own from `send`
        if (r == rank_) continue;
        copy(at(to, r * flight.piece_elements, op.dtype), at(op.send, r * op.count + begin, op.dtype), length,
             op.dtype);
      }
      return;
    case Operation::Kind::kBroadcast:
      if (op.peer == rank_) copy(to, at(op.recv, begin, op.dtype), length, op.dtype);
      return;
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      break;
  }
  throw InternalError(identity_->where(), fmt::format("{} is no collective", op.to_string()));
}

void SharedCollectives::combine(const StagedFlight& flight, int64_t step) {
  const Operation& op = flight.operation();
  const Part part = part_of(flight.length(step), size_, rank_);
  std::vector<const void*> sources(static_cast<std::size_t>(size_));
  for (int r = 0; r < size_; ++r) sources[static_cast<std::size_t>(r)] = at(slot(r, step), part.begin, op.dtype);
  // Nobody else reads this part of this rank's slot before the sum is there.
  std::byte* const sum = at(slot(rank_, step), part.begin, op.dtype);
  reduce_rows(sources, sum, part.length, op.dtype, op.reduce);
}

void SharedCollectives::drain(const StagedFlight& flight, int64_t step) {
  const Operation& op = flight.operation();
  const int64_t begin = flight.begin(step), length = flight.length(step);
  const auto row_for_this_rank = [&](int r) -> const std::byte* {
    return r == rank_ ? at(op.send, rank_ * op.count + begin, op.dtype)
                      : at(slot(r, step), rank_ * flight.piece_elements, op.dtype);
  };
  std::vector<const void*> sources(static_cast<std::size_t>(size_));
  switch (op.kind) {
    case Operation::Kind::kAllReduce: {
      std::byte* const data = at(op.recv, begin, op.dtype);
      if (sums_in_parts(op)) {
        for (int r = 0; r < size_; ++r) {
          const Part part = part_of(length, size_, r);
          copy(at(data, part.begin, op.dtype), at(slot(r, step), part.begin, op.dtype), part.length, op.dtype);
        }
        return;
      }
      for (int r = 0; r < size_; ++r) sources[static_cast<std::size_t>(r)] = r == rank_ ? data : slot(r, step);
      return reduce_rows(sources, data, length, op.dtype, op.reduce);
    }
    case Operation::Kind::kReduceScatter:
      for (int r = 0; r < size_; ++r) sources[static_cast<std::size_t>(r)] = row_for_this_rank(r);
      return reduce_rows(sources, at(op.recv, begin, op.dtype), length, op.dtype, op.reduce);
    case Operation::Kind::kAllGather:
      for (int r = 0; r < size_; ++r) {
        const std::byte* const from = r == rank_ ? at(op.send, begin, op.dtype) : slot(r, step);
        copy(at(op.recv, r * op.count + begin, op.dtype), from, length, op.dtype);
      }
      return;
    case Operation::Kind::kAllToAll:
      for (int r = 0; r < size_; ++r) {
        copy(at(op.recv, r * op.count + begin, op.dtype), row_for_this_rank(r), length, op.dtype);
      }
      return;
    case Operation::Kind::kBroadcast:
      if (op.peer != rank_) copy(at(op.recv, begin, op.dtype), slot(op.peer, step), length, op.dtype);
      return;
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      break;
  }
  throw InternalError(identity_->where(), fmt::format("{} is no collective", op.to_string()));
}

}  // namespace triptych::parallel
