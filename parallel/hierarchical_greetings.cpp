#include <algorithm>
#include <cstring>
#include <utility>

#include "parallel/hierarchical_collectives.h"
#include "parallel/layout.h"

namespace triptych::parallel {
namespace {

using Kind = Operation::Kind;

// Whatever the operation, whose other messages have smaller tags.
int greeting_tag(int64_t step, int num_slots) {
  return 7 << 12 | static_cast<int>(step % num_slots);
}

}  // namespace

bool HierarchicalCollectives::greets(const Piece& piece) const {
  if (piece.begin > 0 || exchanges_[static_cast<std::size_t>(piece.step % sizes().num_slots)].round != 1) return false;
  const Kind kind = piece.operation.kind;
  int rows = 1;  // of which a carrier may send a part
  for (int m = 0; m < machines_.count() && (kind == Kind::kReduceScatter || kind == Kind::kAllGather); ++m) {
    rows = std::max(rows, machines_.size(m));
  }
  const int64_t length = rows * piece.length;
  return seat() == 0 || (kind == Kind::kAllGather ? shard_range(length, machines_.num_carriers, seat()).length > 0
                                                  : carried(length).length > 0);
}

bool HierarchicalCollectives::goes_with_greeting(Kind kind, const Piece& piece, int machine, std::byte* data,
                                                 int64_t length) {
  Greetings& with = exchange(piece.step).greetings[static_cast<std::size_t>(machine)];
  const std::size_t bytes = static_cast<std::size_t>(length) * dtype_bytes(piece.operation.dtype);
  std::size_t& greeted = kind == Kind::kSend ? with.sent_bytes : with.received_bytes;
  if (greeted > 0 || bytes > kGreetedBytes) return false;
  greeted = bytes;
  if (kind == Kind::kSend) {
    std::memcpy(with.sent.data.data(), data, bytes);
  } else {
    with.to = data;
  }
  return true;
}

void HierarchicalCollectives::start_greetings(const Piece& piece) {
  Exchange& on_way = exchange(piece.step);
  for_others([&](int m) {
    Greetings& with = on_way.greetings[static_cast<std::size_t>(m)];
    Operation message{.kind = Kind::kRecv,
                      .dtype = DType::kUInt8,
                      .peer = carrier_of(m),
                      .tag = greeting_tag(piece.step, sizes().num_slots),
                      .count = sizeof(Greeting),
                      .recv = &with.received,
                      .sequence = piece.step};
    with.expected = start_message_(message, true);
    with.sent.call = piece.operation;
    message.kind = Kind::kSend;
    message.count = static_cast<int64_t>(kCallBytes + with.sent_bytes);
    message.send = &with.sent;
    message.recv = nullptr;
    on_way.open.push_back(start_message_(message, false));
  });
}

bool HierarchicalCollectives::greetings_have_come(const Piece& piece) {
  bool all = true;
  std::vector<Greetings>& greetings = exchange(piece.step).greetings;
  for (int m = 0; m < static_cast<int>(greetings.size()); ++m) {
    Greetings& with = greetings[static_cast<std::size_t>(m)];
    if (!with.expected) continue;
    with.expected->rethrow_failure();
    if (!with.expected->finished()) {
      all = false;
      continue;
    }
    const Operation& called = with.received.call;
    if (!called.agrees_with(piece.operation)) {
      std::vector<Call> calls{{identity().rank, piece.operation}, {carrier_of(m), called}};
      if (calls[1].rank < calls[0].rank) std::swap(calls[0], calls[1]);
      refuse(calls);
    }
    if (with.received_bytes > 0) std::memcpy(with.to, with.received.data.data(), with.received_bytes);
    with.expected = nullptr;
    with.sent_bytes = with.received_bytes = 0;
  }
  return all;
}

}  // namespace triptych::parallel
