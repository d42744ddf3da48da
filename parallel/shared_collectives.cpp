#include "parallel/shared_collectives.h"

#include <utility>

#include "base/error.h"
#include "parallel/reduce.h"

namespace triptych::parallel {
namespace {

std::vector<SlotRing::Member> members_of(const std::vector<Doorbell*>& bells) {
  std::vector<SlotRing::Member> members;
  for (Doorbell* const bell : bells) members.push_back({.rank = static_cast<int>(members.size()), .bell = bell});
  return members;
}

}  // namespace

SharedCollectives::SharedCollectives(std::shared_ptr<const GroupIdentity> identity_of_rank,
                                     std::shared_ptr<Progress> progress, std::shared_ptr<void> keep, std::byte* base,
                                     const std::vector<Doorbell*>& bells, const Options& options)
    : SlotRing(std::move(identity_of_rank), std::move(progress), std::move(keep), base, members_of(bells),
               {.num_slots = options.num_slots, .slot_bytes = options.slot_bytes}),
      direct_bytes_(options.direct_bytes),
      rank_(seat()),
      size_(num_members()) {
  TRIPTYCH_CHECK(options.slot_bytes >= size_ * kPartAlignment * 8, "slots of {} bytes for {} ranks", options.slot_bytes,
                 size_);
  TRIPTYCH_CHECK(size_ == identity().size(), "{} doorbells for {} ranks", size_, identity().size());
}

std::size_t SharedCollectives::segment_bytes(int size, const Options& options) {
  return SlotRing::segment_bytes(size, {.num_slots = options.num_slots, .slot_bytes = options.slot_bytes});
}

bool SharedCollectives::combines(const Operation& operation) const {
  return operation.kind == Operation::Kind::kAllReduce && size_ > 2 &&
         operation.bytes() > static_cast<std::size_t>(direct_bytes_);
}

int64_t SharedCollectives::piece_elements(const Operation& operation) const {
  const int64_t slot_elements = sizes().slot_bytes / static_cast<int64_t>(dtype_bytes(operation.dtype));
  const bool a_row_per_rank =
      operation.kind == Operation::Kind::kReduceScatter || operation.kind == Operation::Kind::kAllToAll;
  return a_row_per_rank ? slot_elements / size_ / kPartAlignment * kPartAlignment : slot_elements;
}

void SharedCollectives::fill(const Piece& piece) {
  const Operation& op = piece.operation;
  const int64_t begin = piece.begin, length = piece.length;
  std::byte* const to = slot(rank_, piece.step);
  switch (op.kind) {
    case Operation::Kind::kAllReduce:
      return copy_elements(to, element_at(op.recv, begin, op.dtype), length, op.dtype);
    case Operation::Kind::kAllGather:
      return copy_elements(to, element_at(op.send, begin, op.dtype), length, op.dtype);
    case Operation::Kind::kReduceScatter:
    case Operation::Kind::kAllToAll:
      for (int r = 0; r < size_; ++r) {  // row r of the slot is for rank r; this rank reads its own from `send`
        if (r == rank_) continue;
        copy_elements(element_at(to, r * piece_elements(op), op.dtype),
                      element_at(op.send, r * op.count + begin, op.dtype), length, op.dtype);
      }
      return;
    case Operation::Kind::kBroadcast:
      if (op.peer == rank_) copy_elements(to, element_at(op.recv, begin, op.dtype), length, op.dtype);
      return;
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      break;
  }
  throw InternalError(identity().where(), fmt::format("{} is no collective", op.to_string()));
}

bool SharedCollectives::combine(const Piece& piece) {
  const Operation& op = piece.operation;
  const Part part = part_of(piece.length, size_, rank_);
  std::vector<const void*> sources(static_cast<std::size_t>(size_));
  for (int r = 0; r < size_; ++r)
    sources[static_cast<std::size_t>(r)] = element_at(slot(r, piece.step), part.begin, op.dtype);
  // Nobody else reads this part of this rank's slot before the sum is there.
  std::byte* const sum = element_at(slot(rank_, piece.step), part.begin, op.dtype);
  reduce_rows(sources, sum, part.length, op.dtype, op.reduce);
  return true;
}

void SharedCollectives::drain(const Piece& piece) {
  const Operation& op = piece.operation;
  const int64_t begin = piece.begin, length = piece.length;
  const auto row_for_this_rank = [&](int r) -> const std::byte* {
    return r == rank_ ? element_at(op.send, rank_ * op.count + begin, op.dtype)
                      : element_at(slot(r, piece.step), rank_ * piece_elements(op), op.dtype);
  };
  std::vector<const void*> sources(static_cast<std::size_t>(size_));
  switch (op.kind) {
    case Operation::Kind::kAllReduce: {
      std::byte* const data = element_at(op.recv, begin, op.dtype);
      if (combines(op)) {
        for (int r = 0; r < size_; ++r) {
          const Part part = part_of(length, size_, r);
          copy_elements(element_at(data, part.begin, op.dtype), element_at(slot(r, piece.step), part.begin, op.dtype),
                        part.length, op.dtype);
        }
        return;
      }
      for (int r = 0; r < size_; ++r) sources[static_cast<std::size_t>(r)] = r == rank_ ? data : slot(r, piece.step);
      return reduce_rows(sources, data, length, op.dtype, op.reduce);
    }
    case Operation::Kind::kReduceScatter:
      for (int r = 0; r < size_; ++r) sources[static_cast<std::size_t>(r)] = row_for_this_rank(r);
      return reduce_rows(sources, element_at(op.recv, begin, op.dtype), length, op.dtype, op.reduce);
    case Operation::Kind::kAllGather:
      for (int r = 0; r < size_; ++r) {
        const std::byte* const from = r == rank_ ? element_at(op.send, begin, op.dtype) : slot(r, piece.step);
        copy_elements(element_at(op.recv, r * op.count + begin, op.dtype), from, length, op.dtype);
      }
      return;
    case Operation::Kind::kAllToAll:
      for (int r = 0; r < size_; ++r) {
        copy_elements(element_at(op.recv, r * op.count + begin, op.dtype), row_for_this_rank(r), length, op.dtype);
      }
      return;
    case Operation::Kind::kBroadcast:
      if (op.peer != rank_)
        copy_elements(element_at(op.recv, begin, op.dtype), slot(op.peer, piece.step), length, op.dtype);
      return;
    case Operation::Kind::kSend:
    case Operation::Kind::kRecv:
      break;
  }
  throw InternalError(identity().where(), fmt::format("{} is no collective", op.to_string()));
}

}  // namespace triptych::parallel
