#include "data/sample_order.h"

#include "base/error.h"

namespace triptych::data {
namespace {

SourceMix mix_of(const std::vector<OrderedSource>& sources) {
  std::vector<double> weights;
  for (const OrderedSource& source : sources) weights.push_back(source.weight);
  return SourceMix(weights);
}

}  // namespace

SampleOrder::SampleOrder(uint64_t seed, uint64_t num_samples, uint64_t batch)
    : SampleOrder(seed, {{.num_samples = num_samples}}, batch) {}

SampleOrder::SampleOrder(uint64_t seed, const std::vector<OrderedSource>& sources, uint64_t batch)
    : mix_(mix_of(sources)) {
  for (std::size_t s = 0; s < sources.size(); ++s) {
    const OrderedSource& source = sources[s];
    first_sample_.push_back(first_sample_.back() + source.num_samples);
    // Sources of one size have orders of their own, too.
    const uint64_t own_seed = s == 0 ? seed : random_key(seed, "source", s).seed + s;
    auto epochs = source.first_sample.empty()
                      ? std::make_unique<const EpochOrder>(own_seed, source.num_samples)
                      : std::make_unique<const EpochOrder>(own_seed, source.first_sample, source.window_shards);
    BatchCuts cuts{.most = mix_.most(s, batch)};
    if (sources.size() > 1) {
      cuts.batch_of = [mix = mix_, s, batch](uint64_t position) -> BatchCuts::Stretch {
        // The stream's position of the first one behind it, less one.
        const uint64_t at = mix.position_after(s, position + 1) - 1, first = at - at % batch;
        return {mix.count(s, first), mix.count(s, first + batch)};
      };
    }
    orders_.push_back(std::make_unique<const SourceOrder>(std::move(epochs), std::move(cuts)));
  }
}

uint64_t SampleOrder::sample_at(uint64_t position) const {
  if (orders_.size() == 1) return orders_.front()->sample_at(position);
  const SourceMix::Place place = mix_.place(position);
  return first_sample_[place.source] + orders_[place.source]->sample_at(place.index);
}

uint64_t SampleOrder::replacement(uint64_t position, uint64_t word, bool own) const {
  const SourceMix::Place place = mix_.place(position);
  return first_sample_[place.source] + orders_[place.source]->replacement(place.index, word, own);
}

}  // namespace triptych::data
