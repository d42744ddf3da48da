#include "data/source_order.h"

#include <numeric>
#include <unordered_set>

#include "base/error.h"

namespace triptych::data {

SourceOrder::SourceOrder(uint64_t seed, uint64_t num_samples, uint64_t batch)
    : SourceOrder(std::make_unique<const EpochOrder>(seed, num_samples), {.most = batch}) {}

SourceOrder::SourceOrder(std::unique_ptr<const EpochOrder> order, BatchCuts cuts)
    : order_(std::move(order)), cuts_(std::move(cuts)) {
  TRIPTYCH_CHECK(cuts_.most >= 1 && num_samples() >= cuts_.most, "{} samples in batches of {}", num_samples(),
                 cuts_.most);
}

bool SourceOrder::goes_round() const {
  return num_samples() < 2 * cuts_.most - 1 && (cuts_.batch_of || num_samples() != cuts_.most);
}

uint64_t SourceOrder::sample_at(uint64_t position) const {
  const Place p = place(position);
  if (goes_round()) {
    if (cuts_.batch_of) return sample(0, p.index);
    // A batch ends with an epoch once in so many epochs.
    const uint64_t period = cuts_.most / std::gcd(num_samples(), cuts_.most);
    return sample(p.epoch - p.epoch % period, p.index);
  }
  if (cuts_.most == 1 || p.epoch == 0) return sample(p.epoch, p.index);
  const std::shared_ptr<const Moves> moved = moves(p.epoch);
  const auto found = moved->find(p.index);
  return sample(p.epoch, found == moved->end() ? p.index : found->second);
}

uint64_t SourceOrder::replacement(uint64_t position, uint64_t word, bool own) const {
  const BatchCuts::Stretch batch = cuts_.at(position);
  const uint64_t row = position - batch.begin, num_rows = batch.end - batch.begin;
  const Place first = place(batch.begin);
  EpochOrder::Stretch among = order_->window(first.epoch, first.index);
  if (among.end - among.begin < 4 * num_rows) among = {0, num_samples()};
  const uint64_t n = among.end - among.begin;
  // Row r draws among the places r, r + rows, ..., so that two rows do not draw the same sample.
  const uint64_t num_places = (n - row + num_rows - 1) / num_rows;
  return sample(first.epoch, among.begin + (own ? row + num_rows * (word % num_places) : word % n));
}

SourceOrder::Moves SourceOrder::make_moves(uint64_t epoch) const {
  Moves moved;
  const uint64_t begin = epoch * num_samples();
  const BatchCuts::Stretch batch = cuts_.at(begin);  // in work when the epoch begins
  const uint64_t tail = begin - batch.begin;
  if (tail == 0) return moved;
  std::unordered_set<uint64_t> before;
  for (uint64_t k = 1; k <= tail; ++k) before.insert(sample(epoch - 1, num_samples() - k));
  const uint64_t head = batch.end - begin;
  uint64_t other = head;  // the first index behind that batch
  for (uint64_t index = 0; index < head; ++index) {
    if (!before.contains(sample(epoch, index))) continue;
    while (before.contains(sample(epoch, other))) ++other;
    moved[index] = other;
    moved[other++] = index;
  }
  return moved;
}

std::shared_ptr<const SourceOrder::Moves> SourceOrder::moves(uint64_t epoch) const {
  const std::lock_guard lock(mutex_);
  Known& known = known_[epoch % 2];
  if (known.epoch != epoch) known = {epoch, std::make_shared<const Moves>(make_moves(epoch))};
  return known.moves;
}

}  // namespace triptych::data
