#include "parallel/hierarchical_collectives.h"

#include <algorithm>
#include <map>
#include <utility>

#include "base/checked.h"
#include "base/error.h"
#include "parallel/layout.h"
#include "parallel/reduce.h"

namespace triptych::parallel {
namespace {

using Kind = Operation::Kind;
constexpr int64_t kMostElementBytes = 8;
constexpr int kMostSlots = 1 << 8;

// Ranks that disagree wait for each other, rather than take what was meant for another operation. Below the largest tag
// of every MPI, 2^15.
int tag_of(const Operation& operation, int64_t step, int round) {
  static_assert(static_cast<int>(DType::kFloat16) < 8 && static_cast<int>(Kind::kRecv) < 7);  // 7: greetings
  const int what = static_cast<int>(operation.kind) << 3 | static_cast<int>(operation.dtype);
  return what << 9 | static_cast<int>(step % kMostSlots) << 1 | (round - 1);
}

SlotRing::Sizes sizes_of(const HierarchicalCollectives::Options& options) {
  return {.num_slots = options.num_slots, .slot_bytes = options.slot_bytes};
}

std::vector<SlotRing::Member> members_of(const GroupMachines& machines, const std::vector<Doorbell*>& bells) {
  const std::vector<int>& ranks = machines.ranks[static_cast<std::size_t>(machines.own)];
  TRIPTYCH_CHECK(bells.size() == ranks.size(), "{} doorbells for {} ranks", bells.size(), ranks.size());
  std::vector<SlotRing::Member> members;
  for (std::size_t i = 0; i < ranks.size(); ++i) members.push_back({.rank = ranks[i], .bell = bells[i]});
  return members;
}

Range overlap(Range a, Range b) {
  const int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max<int64_t>(0, std::min(a.begin + a.length, b.begin + b.length) - begin)};
}

Range range_of(Part part) {
  return {part.begin, part.length};
}

}  // namespace

GroupMachines GroupMachines::of(std::span<const int> numbers, int rank) {
  GroupMachines result;
  std::map<int, int> known;
  for (std::size_t r = 0; r < numbers.size(); ++r) {
    const auto [found, is_new] = known.emplace(numbers[r], result.count());
    if (is_new) result.ranks.emplace_back();
    std::vector<int>& ranks = result.ranks[static_cast<std::size_t>(found->second)];
    result.machine_of.push_back(found->second);
    result.seat_of.push_back(static_cast<int>(ranks.size()));
    ranks.push_back(static_cast<int>(r));
  }
  result.own = result.machine_of[static_cast<std::size_t>(rank)];
  result.num_carriers = result.size(0);
  for (int m = 1; m < result.count(); ++m) result.num_carriers = std::min(result.num_carriers, result.size(m));
  return result;
}

HierarchicalCollectives::Options HierarchicalCollectives::options_for(const GroupMachines& machines) {
  constexpr int64_t kMessageBytes = 32 << 10, kSmallest = 64 << 10, kLargest = 1 << 20, kOnTheirWay = 4 << 20;
  Options options;
  options.slot_bytes = std::clamp(kMessageBytes * machines.num_carriers * machines.count(), kSmallest, kLargest);
  options.num_slots = static_cast<int>(std::clamp<int64_t>(kOnTheirWay / options.slot_bytes, 8, 64));
  return options;
}

bool HierarchicalCollectives::takes(const Operation& operation) {
  return operation.is_collective() && operation.kind != Kind::kAllToAll;
}

std::size_t HierarchicalCollectives::segment_bytes(const GroupMachines& machines, const Options& options) {
  return SlotRing::segment_bytes(machines.size(machines.own), sizes_of(options));
}

HierarchicalCollectives::HierarchicalCollectives(std::shared_ptr<const GroupIdentity> identity_of_rank,
                                                 std::shared_ptr<Progress> progress, std::shared_ptr<void> keep,
                                                 std::byte* base, const std::vector<Doorbell*>& bells,
                                                 GroupMachines machines, StartMessage start_message,
                                                 const Options& options)
    : SlotRing(std::move(identity_of_rank), std::move(progress), std::move(keep), base, members_of(machines, bells),
               sizes_of(options)),
      machines_(std::move(machines)),
      start_message_(std::move(start_message)),
      direct_bytes_(options.direct_bytes),
      exchanges_(static_cast<std::size_t>(options.num_slots)) {
  TRIPTYCH_CHECK(machines_.count() > 1 && options.num_slots <= kMostSlots, "{} machines, {} slots", machines_.count(),
                 options.num_slots);
  TRIPTYCH_CHECK(options.slot_bytes >= 2 * (identity().size() + kPartAlignment) * kMostElementBytes,
                 "slots of {} bytes for {} ranks", options.slot_bytes, identity().size());
  int before = 0;
  for (int m = 0; m < machines_.count(); ++m) {
    first_row_.push_back(before);
    before += machines_.size(m);
  }
}

int64_t HierarchicalCollectives::piece_elements(const Operation& operation) const {
  const int64_t slot_elements = sizes().slot_bytes / static_cast<int64_t>(dtype_bytes(operation.dtype));
  const int64_t size = identity().size();
  const auto aligned = [](int64_t length) {
    return length < kPartAlignment ? length : length / kPartAlignment * kPartAlignment;
  };
  if (operation.kind == Kind::kReduceScatter) return aligned(slot_elements / size);
  if (operation.kind != Kind::kAllGather) return slot_elements;
  // Its own row, and of all other machines' rows what one carrier gets; what does not divide adds an element each.
  const int64_t rows = 1 + ceil_div(size - machines_.num_carriers, machines_.num_carriers);
  return aligned((slot_elements - machines_.count()) / rows);
}

bool HierarchicalCollectives::is_direct(const Operation& operation) const {
  return operation.bytes() <= static_cast<std::size_t>(direct_bytes_) ||
         (operation.kind == Kind::kBroadcast && machines_.count() == 2);
}

std::byte* HierarchicalCollectives::own_element(const Piece& piece, int64_t element) const {
  return element_at(slot(seat(), piece.step), element, piece.operation.dtype);
}

Part HierarchicalCollectives::share(Part of, int machine) const {
  const Part part = part_of(of.length, machines_.count(), machine);
  return {of.begin + part.begin, part.length};
}

// Where in a slot the part of a machine's rows begins that a carrier got from there.
int64_t HierarchicalCollectives::gathered_begin(int64_t length, int machine, int carrier) const {
  int64_t begin = length;  // behind the carrier's own row
  for (int m = 0; m < machine; ++m) {
    if (m == machines_.own) continue;
    begin += shard_range(machines_.size(m) * length, machines_.num_carriers, carrier).length;
  }
  return begin;
}

void HierarchicalCollectives::fill(const Piece& piece) {
  const Operation& op = piece.operation;
  std::byte* const to = slot(seat(), piece.step);
  switch (op.kind) {
    case Kind::kAllReduce:
      return copy_elements(to, element_at(op.recv, piece.begin, op.dtype), piece.length, op.dtype);
    case Kind::kAllGather:
      return copy_elements(to, element_at(op.send, piece.begin, op.dtype), piece.length, op.dtype);
    case Kind::kReduceScatter:
      for (std::size_t r = 0; r < machines_.machine_of.size(); ++r) {  // a machine's rows lie together
        const int row = first_row_[static_cast<std::size_t>(machines_.machine_of[r])] + machines_.seat_of[r];
        const std::byte* const from = element_at(op.send, static_cast<int64_t>(r) * op.count + piece.begin, op.dtype);
        copy_elements(element_at(to, row * piece.length, op.dtype), from, piece.length, op.dtype);
      }
      return;
    case Kind::kBroadcast:
      if (op.peer == identity().rank) {
        copy_elements(to, element_at(op.recv, piece.begin, op.dtype), piece.length, op.dtype);
      }
      return;
    default:
      throw InternalError(identity().where(), fmt::format("{} does not go over machines", op.to_string()));
  }
}

bool HierarchicalCollectives::combine(const Piece& piece) {
  if (seat() >= machines_.num_carriers) return true;
  Exchange& on_way = exchange(piece.step);
  if (on_way.round == 0) {
    on_way.round = 1;
    start_round(piece);
  }
  while (true) {
    if (!round_has_ended(piece)) return false;
    if (!finish_round(piece)) break;
    ++on_way.round;
    start_round(piece);
  }
  on_way.round = 0;
  return true;
}

void HierarchicalCollectives::start_round(const Piece& piece) {
  if (greets(piece)) exchange(piece.step).greetings.resize(static_cast<std::size_t>(machines_.count()));
  switch (piece.operation.kind) {
    case Kind::kAllReduce:
      start_all_reduce(piece);
      break;
    case Kind::kReduceScatter:
      start_reduce_scatter(piece);
      break;
    case Kind::kAllGather:
      start_all_gather(piece);
      break;
    default:
      start_broadcast(piece);
  }
  if (greets(piece)) start_greetings(piece);
}

bool HierarchicalCollectives::round_has_ended(const Piece& piece) {
  // What others sent for another operation may fail here, so first of all it is seen whether they agree.
  if (!greetings_have_come(piece)) return false;
  std::vector<std::shared_ptr<Flight>>& open = exchange(piece.step).open;
  std::erase_if(open, [](const std::shared_ptr<Flight>& flight) {
    flight->rethrow_failure();
    return flight->finished();
  });
  return open.empty();
}

bool HierarchicalCollectives::finish_round(const Piece& piece) {
  const Operation& op = piece.operation;
  if (exchange(piece.step).round == 2) return false;
  if (op.kind == Kind::kAllReduce || op.kind == Kind::kReduceScatter) sum_machines(piece, exchanged(piece));
  return (op.kind == Kind::kAllReduce || op.kind == Kind::kBroadcast) && !is_direct(op);
}

// What this carrier sums over the machines, where it lies in the slot.
Part HierarchicalCollectives::exchanged(const Piece& piece) const {
  if (piece.operation.kind == Kind::kReduceScatter) {
    const Part part = carried(machines_.size(machines_.own) * piece.length);
    return {first_row_[static_cast<std::size_t>(machines_.own)] * piece.length + part.begin, part.length};
  }
  const Part part = carried(piece.length);
  return is_direct(piece.operation) ? part : share(part, machines_.own);
}

void HierarchicalCollectives::message(Kind kind, const Piece& piece, int machine, std::byte* data, int64_t length) {
  if (length == 0) return;
  Exchange& on_way = exchange(piece.step);
  if (greets(piece) && goes_with_greeting(kind, piece, machine, data, length)) return;
  Operation message{.kind = kind, .dtype = piece.operation.dtype, .count = length, .sequence = piece.step};
  message.peer = carrier_of(machine);
  message.tag = tag_of(piece.operation, piece.step, on_way.round);
  (kind == Kind::kSend ? message.send = data : message.recv = data);
  on_way.open.push_back(start_message_(message, false));
}

int HierarchicalCollectives::carrier_of(int machine) const {
  return machines_.ranks[static_cast<std::size_t>(machine)][static_cast<std::size_t>(seat())];
}

void HierarchicalCollectives::start_all_reduce(const Piece& piece) {
  const DType dtype = piece.operation.dtype;
  const Part part = carried(piece.length), mine = exchanged(piece);
  Exchange& on_way = exchange(piece.step);
  if (on_way.round == 1) {
    sum_slots(piece, part.begin, part.length);
    on_way.received.resize(static_cast<std::size_t>(machines_.count() * mine.length) * dtype_bytes(dtype));
    for_others([&](int m) {
      message(Kind::kRecv, piece, m, element_at(on_way.received.data(), m * mine.length, dtype), mine.length);
    });
    for_others([&](int m) {
      const Part theirs = is_direct(piece.operation) ? part : share(part, m);
      message(Kind::kSend, piece, m, own_element(piece, theirs.begin), theirs.length);
    });
    return;
  }
  for_others([&](int m) {
    const Part theirs = share(part, m);
    message(Kind::kRecv, piece, m, own_element(piece, theirs.begin), theirs.length);
  });
  for_others([&](int m) { message(Kind::kSend, piece, m, own_element(piece, mine.begin), mine.length); });
}

void HierarchicalCollectives::start_reduce_scatter(const Piece& piece) {
  const DType dtype = piece.operation.dtype;
  const Part mine = exchanged(piece);
  Exchange& on_way = exchange(piece.step);
  on_way.received.resize(static_cast<std::size_t>(machines_.count() * mine.length) * dtype_bytes(dtype));
  for_others([&](int m) {
    message(Kind::kRecv, piece, m, element_at(on_way.received.data(), m * mine.length, dtype), mine.length);
  });
  for_others([&](int m) {
    const Part part = carried(machines_.size(m) * piece.length);
    const int64_t begin = first_row_[static_cast<std::size_t>(m)] * piece.length + part.begin;
    sum_slots(piece, begin, part.length);
    message(Kind::kSend, piece, m, own_element(piece, begin), part.length);
  });
  sum_slots(piece, mine.begin, mine.length);
}

void HierarchicalCollectives::start_all_gather(const Piece& piece) {
  const DType dtype = piece.operation.dtype;
  const int64_t length = piece.length;
  const int num_carriers = machines_.num_carriers;
  // One message for each row that this carrier's part reaches into.
  const auto for_rows = [&](int machine, const auto& visit) {
    const Range part = shard_range(machines_.size(machine) * length, num_carriers, seat());
    for (int row = 0; row < machines_.size(machine); ++row) {
      const Range piece_of_row = overlap(part, {row * length, length});
      if (piece_of_row.length > 0) visit(row, piece_of_row, piece_of_row.begin - part.begin);
    }
  };
  for_others([&](int m) {
    const int64_t begin = gathered_begin(length, m, seat());
    for_rows(m, [&](int, Range range, int64_t in_part) {
      message(Kind::kRecv, piece, m, own_element(piece, begin + in_part), range.length);
    });
  });
  for_others([&](int m) {
    for_rows(machines_.own, [&](int row, Range range, int64_t) {
      std::byte* const from = element_at(slot(row, piece.step), range.begin - row * length, dtype);
      message(Kind::kSend, piece, m, from, range.length);
    });
  });
}

void HierarchicalCollectives::start_broadcast(const Piece& piece) {
  const Operation& op = piece.operation;
  const int source = machines_.machine_of[static_cast<std::size_t>(op.peer)];
  const bool is_source = source == machines_.own, is_first = exchange(piece.step).round == 1;
  const Part part = carried(piece.length), mine = exchanged(piece);
  const auto at = [&](int64_t element) {
    const int from = is_source ? machines_.seat_of[static_cast<std::size_t>(op.peer)] : seat();
    return element_at(slot(from, piece.step), element, op.dtype);
  };
  if (is_first && !is_source) return message(Kind::kRecv, piece, source, at(mine.begin), mine.length);
  for_others([&](int m) {  // each machine gets its share from the source, then those of the others from them
    if (is_first) {
      const Part theirs = is_direct(op) ? part : share(part, m);
      return message(Kind::kSend, piece, m, at(theirs.begin), theirs.length);
    }
    const Part theirs = share(part, m);
    if (!is_source) message(Kind::kRecv, piece, m, at(theirs.begin), theirs.length);
    if (m != source) message(Kind::kSend, piece, m, at(mine.begin), mine.length);
  });
}

// Nobody else reads these elements of this rank's slot before their sum is there.
void HierarchicalCollectives::sum_slots(const Piece& piece, int64_t begin, int64_t length) {
  const Operation& op = piece.operation;
  std::vector<const void*> sources;
  for (int s = 0; s < num_members(); ++s) sources.push_back(element_at(slot(s, piece.step), begin, op.dtype));
  reduce_rows(sources, own_element(piece, begin), length, op.dtype, op.reduce);
}

void HierarchicalCollectives::sum_machines(const Piece& piece, Part part) {
  const Operation& op = piece.operation;
  std::byte* const sum = own_element(piece, part.begin);
  std::vector<const void*> sources;
  for (int m = 0; m < machines_.count(); ++m) {
    std::byte* const received = exchange(piece.step).received.data();
    sources.push_back(m == machines_.own ? sum : element_at(received, m * part.length, op.dtype));
  }
  reduce_rows(sources, sum, part.length, op.dtype, op.reduce);
}

void HierarchicalCollectives::drain(const Piece& piece) {
  const Operation& op = piece.operation;
  const DType dtype = op.dtype;
  const int64_t length = piece.length;
  const int own = machines_.own, num_carriers = machines_.num_carriers;
  // Elements of `wanted`, which the carriers have in parts from `begin` of their slots on.
  const auto copy_parts = [&](std::byte* to, int64_t begin, int64_t total, Range wanted) {
    for (int c = 0; c < num_carriers; ++c) {
      const Range range = overlap(range_of(part_of(total, num_carriers, c)), wanted);
      copy_elements(element_at(to, range.begin - wanted.begin, dtype),
                    element_at(slot(c, piece.step), begin + range.begin, dtype), range.length, dtype);
    }
  };
  std::byte* const result = element_at(op.recv, piece.begin, dtype);
  switch (op.kind) {
    case Kind::kAllReduce:
      return copy_parts(result, 0, length, {0, length});
    case Kind::kReduceScatter:
      return copy_parts(result, first_row_[static_cast<std::size_t>(own)] * length, machines_.size(own) * length,
                        {seat() * length, length});
    case Kind::kBroadcast: {
      const std::size_t root = static_cast<std::size_t>(op.peer);
      if (op.peer == identity().rank) return;
      if (machines_.machine_of[root] != own) return copy_parts(result, 0, length, {0, length});
      return copy_elements(result, slot(machines_.seat_of[root], piece.step), length, dtype);
    }
    default:
      break;
  }
  for (std::size_t r = 0; r < machines_.machine_of.size(); ++r) {  // all_gather
    const int machine = machines_.machine_of[r], row = machines_.seat_of[r];
    std::byte* const to = element_at(op.recv, static_cast<int64_t>(r) * op.count + piece.begin, dtype);
    if (machine == own) {
      copy_elements(to, slot(row, piece.step), length, dtype);
      continue;
    }
    for (int c = 0; c < num_carriers; ++c) {
      const Range part = shard_range(machines_.size(machine) * length, num_carriers, c);
      const Range range = overlap(part, {row * length, length});
      if (range.length == 0) continue;
      const int64_t begin = gathered_begin(length, machine, c) + range.begin - part.begin;
      copy_elements(element_at(to, range.begin - row * length, dtype), element_at(slot(c, piece.step), begin, dtype),
                    range.length, dtype);
    }
  }
}

std::string HierarchicalCollectives::missing_elsewhere(int64_t step) const {
  std::string text;
  const Exchange& on_way = exchanges_[static_cast<std::size_t>(step % sizes().num_slots)];
  std::vector<int> named;
  std::vector<std::shared_ptr<Flight>> open = on_way.open;
  for (const Greetings& with : on_way.greetings) {
    if (with.expected) open.push_back(with.expected);
  }
  for (const std::shared_ptr<Flight>& flight : open) {
    const int peer = flight->operation().peer;
    if (flight->finished() || std::find(named.begin(), named.end(), peer) != named.end()) continue;
    named.push_back(peer);
    text += fmt::format("{}{}", text.empty() ? "" : ", ", identity().rank_text(peer));
  }
  return text;
}

}  // namespace triptych::parallel
