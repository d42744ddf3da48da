#include "data/row_worker.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/philox.h"
#include "base/text.h"

namespace triptych::data {
namespace {

/// Adds the time it lives to a counter, also when it is left by an exception.
class Timer {
 public:
  explicit Timer(int64_t& total_ns) : total_ns_(total_ns), start_(std::chrono::steady_clock::now()) {}
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;
  ~Timer() {
    const auto elapsed = std::chrono::steady_clock::now() - start_;
    total_ns_ += std::chrono::duration_cast<std::chrono::nanoseconds>(elapsed).count();
  }

 private:
  int64_t& total_ns_;
  std::chrono::steady_clock::time_point start_;
};

void check_utf8(std::string_view text) {
  if (is_utf8(text)) return;
  throw WorldError("loader", fmt::format("a caption must be UTF-8; one of {} bytes is not. Repair it and index again.",
                                         text.size()));
}

}  // namespace

void RowWork::add(const RowWork& other) {
  storage_ns += other.storage_ns;
  decode_ns += other.decode_ns;
  collate_ns += other.collate_ns;
  num_samples += other.num_samples;
  bytes_read += other.bytes_read;
}

namespace {

SampleParts read_by(std::span<const FieldSource> fields) {
  SampleParts reads = SampleParts::kNone;
  for (const FieldSource& field : fields) reads = reads | field.reads;
  return reads;
}

SampleOrder order_of(const Dataset& dataset, const LoaderOptions& options) {
  if (!options.training) return SampleOrder(options.seed, dataset.size());
  return SampleOrder(options.seed, ordered_sources(dataset, options.weights, options.shuffle_shards),
                     static_cast<uint64_t>(options.global_batch));
}

}  // namespace

std::vector<OrderedSource> ordered_sources(const Dataset& dataset, std::span<const double> weights,
                                           uint64_t window_shards) {
  TRIPTYCH_CHECK(weights.size() == dataset.num_sources() || (weights.empty() && dataset.num_sources() == 1),
                 "{} weights of {} sources", weights.size(), dataset.num_sources());
  std::vector<OrderedSource> sources;
  for (std::size_t s = 0; s < dataset.num_sources(); ++s) {
    const DataFolder& folder = dataset.source(s);
    OrderedSource source{
        .num_samples = folder.size(), .weight = weights.empty() ? 1 : weights[s], .window_shards = window_shards};
    if (window_shards > 0 || folder.is_remote()) {
      for (uint32_t shard = 0; shard < folder.num_shards(); ++shard) {
        source.first_sample.push_back(folder.first_sample(shard));
      }
      source.first_sample.push_back(folder.size());
    }
    sources.push_back(std::move(source));
  }
  return sources;
}

SampleStream::SampleStream(std::shared_ptr<const Dataset> source, LoaderOptions with)
    : dataset(std::move(source)),
      options(std::move(with)),
      fields(std::make_shared<const std::vector<FieldSpec>>(fields_of(options.fields))),
      reads(read_by(options.fields)),
      order(order_of(*dataset, options)),
      sound(checks_images() ? dataset->size() : 0) {
  if (options.training || options.items != EvaluationItems::kCaptions) return;
  uint64_t count = 0;
  for (uint64_t i = 0; i < dataset->size(); ++i) {
    if (i % kCaptionStride == 0) captions_before_.push_back(count);
    count += dataset->record(i).num_texts(options.text_role);
  }
  captions_before_.push_back(count);
}

uint64_t SampleStream::num_items() const {
  return captions_before_.empty() ? dataset->size() : captions_before_.back();
}

std::vector<uint64_t> SampleStream::batch_samples(int64_t step) const {
  std::vector<uint64_t> samples;
  const auto first = static_cast<uint64_t>(step) * static_cast<uint64_t>(options.global_batch);
  for (uint64_t r = 0; r < static_cast<uint64_t>(options.global_batch); ++r) {
    samples.push_back(order.sample_at(first + r));
  }
  std::ranges::sort(samples);
  return samples;
}

uint64_t SampleStream::replacement(uint64_t position, int attempt, std::span<const uint64_t> batch_samples) const {
  const RandomKey key = random_key(options.seed, "replacement", position);
  // At first each row draws among places of its own; a small set has few of them, which may all be bad.
  constexpr uint64_t kDraws = 32;
  const uint64_t num_own_draws = attempt <= 4 ? kDraws / 2 : 0;
  uint64_t sample = 0;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    const auto words = philox4x32(key, static_cast<uint64_t>(attempt) * kDraws + draw);
    sample = order.replacement(position, uint64_t{words[0]} << 32 | words[1], draw < num_own_draws);
    if (!std::ranges::binary_search(batch_samples, sample)) break;
  }
  return sample;
}

void SampleStream::expect(int64_t step) {
  if (!options.training) return;
  expected_.resize(dataset->num_sources(), {~uint64_t{0}, 0});
  const auto position = static_cast<uint64_t>(step) * static_cast<uint64_t>(options.global_batch);
  for (std::size_t s = 0; s < dataset->num_sources(); ++s) {
    if (!dataset->source(s).is_remote()) continue;
    const SourceOrder& source = order.source(s);
    SourceOrder::Place now = source.place(order.mix().count(s, position));
    const EpochOrder::Stretch window = source.epochs().window(now.epoch, now.index);
    if (options.shuffle_shards == 0) now.epoch = 0;  // all of them, in every epoch
    if (expected_[s].epoch == now.epoch && expected_[s].index == window.begin) continue;
    expected_[s] = {now.epoch, window.begin};
    std::vector<uint32_t> shards = source.epochs().shards(now.epoch, now.index);
    const bool is_last = window.end == source.num_samples();
    if (options.shuffle_shards > 0) {
      const std::vector<uint32_t> next = source.epochs().shards(now.epoch + is_last, is_last ? 0 : window.end);
      shards.insert(shards.end(), next.begin(), next.end());
    }
    dataset->source(s).expect(std::move(shards));
  }
}

SampleStream::Item SampleStream::evaluation_item(uint64_t position) const {
  if (captions_before_.empty()) return {position, 0};
  // The last stride that begins at or before it, and in it the first sample that ends behind it.
  const auto next = std::upper_bound(captions_before_.begin(), captions_before_.end() - 1, position);
  const auto stride = static_cast<uint64_t>(next - captions_before_.begin() - 1);
  uint64_t left = position - captions_before_[stride];
  for (uint64_t sample = stride * kCaptionStride;; ++sample) {
    const SampleRecord record = dataset->record(sample);
    const uint64_t count = record.num_texts(options.text_role);
    if (left < count) return {sample, record.nth_text(options.text_role, static_cast<uint32_t>(left))};
    left -= count;
  }
}

RowWorker::RowWorker(std::shared_ptr<SampleStream> stream) : stream_(std::move(stream)) {
  rows_.resize(stream_->fields->size());
  make_fillers();
}

void RowWorker::make_fillers() {
  fillers_.clear();
  std::size_t first = 0;
  for (const FieldSource& source : stream_->options.fields) {
    fillers_.push_back({source.make(), first, source.fields.size()});
    first += source.fields.size();
  }
}

template <typename Body>
void RowWorker::with_fillers(const Body& body) {
  try {
    body();
    const Timer timer(work.collate_ns);
    for (const Filler& f : fillers_) f.filler->finish();
  } catch (...) {
    make_fillers();  // they may still hold the rows
    throw;
  }
}

void RowWorker::fill(Batch& batch, int64_t begin, int64_t end, const std::atomic<bool>& stopping) {
  with_fillers([&] {
    for (int64_t row = begin; row < end && !stopping; ++row) fill_row(batch, row, 0);
  });
}

void RowWorker::refill(Batch& batch, int64_t row, int attempt) {
  with_fillers([&] { fill_row(batch, row, attempt); });
}

uint64_t RowWorker::training_sample(uint64_t position, int64_t step, int attempt) {
  if (attempt == 0) return stream_->order.sample_at(position);
  if (batch_step_ != step) {
    batch_samples_ = stream_->batch_samples(step);
    batch_step_ = step;
  }
  return stream_->replacement(position, attempt, batch_samples_);
}

void RowWorker::fill_row(Batch& batch, int64_t row, int first_attempt) {
  const LoaderOptions& options = stream_->options;
  const auto r = static_cast<std::size_t>(row);
  for (std::size_t i = 0; i < rows_.size(); ++i) rows_[i] = batch.row_bytes(i, row);
  const auto clear = [&] {
    for (const Filler& f : fillers_) f.filler->clear(rows_of(f));
  };
  const uint64_t position = static_cast<uint64_t>(batch.step) * static_cast<uint64_t>(options.global_batch) +
                            static_cast<uint64_t>(batch.first_index + row);
  const bool over_captions = !options.training && options.items == EvaluationItems::kCaptions;
  const bool is_beyond = batch.first_index + row >= options.global_batch;      // of a batch that dp does not divide
  if (!options.training && (is_beyond || position >= stream_->num_items())) {  // pads the last batch
    batch.sample_ids[r] = kNoSample;
    if (over_captions) batch.caption_numbers[r] = 0;
    clear();
    return;
  }
  const int num_attempts = options.training ? kMaxAttempts : 1;
  for (int attempt = first_attempt; attempt < num_attempts; ++attempt) {
    SampleStream::Item item{};
    if (options.training) {
      item.sample = training_sample(position, batch.step, attempt);
    } else {
      item = stream_->evaluation_item(position);
    }
    batch.attempts[r] = attempt;
    batch.sample_ids[r] = item.sample;
    if (over_captions) batch.caption_numbers[r] = item.caption;
    ++work.num_samples;
    try {
      use_sample(item, position);
      return;
    } catch (const WorldError& error) {
      bad.push_back({row, attempt, {item.sample, stream_->dataset->sample_name(item.sample), error.what()}});
    }
  }
  batch.attempts[r] = num_attempts;
  clear();
}

/// Which of the sample's texts the row is about; it has some of the role.
uint32_t RowWorker::text_of(SampleStream::Item item, const SampleRecord& record, uint64_t position) const {
  const LoaderOptions& options = stream_->options;
  if (!options.training) {
    return options.items == EvaluationItems::kCaptions ? item.caption : record.nth_text(options.text_role, 0);
  }
  const uint64_t word = philox_word(random_key(options.seed, "caption", position), 0);
  return record.nth_text(options.text_role, static_cast<uint32_t>(word * record.num_texts(options.text_role) >> 32));
}

void RowWorker::use_sample(SampleStream::Item item, uint64_t position) {
  const LoaderOptions& options = stream_->options;
  const uint64_t sample = item.sample;
  const SampleRecord record = stream_->dataset->record(sample);
  const SampleParts shown = shown_parts(record, options.training ? options.modality_dropout : ModalityDropout(),
                                        options.seed, position, options.text_role);
  const bool is_decoded = has_part(stream_->reads, SampleParts::kImage);  // by a source
  const bool wants_image = is_decoded || (stream_->checks_images() && !stream_->sound.contains(sample));
  const SampleParts asked = wants_image ? SampleParts::kAll : SampleParts::kCaptions;
  {
    const Timer timer(work.storage_ns);
    stream_->dataset->read(sample, buffer_, asked & shown);
  }
  work.bytes_read += buffer_.image.size() + buffer_.caption_bytes.size();
  LoadedSample view{.dataset = *stream_->dataset,
                    .bytes = buffer_,
                    .record = record,
                    .sample = sample,
                    .position = position,
                    .has_image = has_part(shown, SampleParts::kImage),
                    .seed = options.seed,
                    .training = options.training,
                    .has_targets = options.training || options.for_loss};
  if (buffer_.num_captions() > 0) {  // the row shows its text, so it has one
    view.caption = text_of(item, record, position);
    // Checked on every rank, so that all of them find the same samples bad.
    check_utf8(view.caption_text());
    for (const std::string_view answer : view.answers()) check_utf8(answer);
  }
  {
    const Timer timer(work.decode_ns);
    // Only whether it is sound; a JPEG's checks lie in its entropy code, which every reduction reads.
    if (!is_decoded && !buffer_.image.empty()) checker_.decode(buffer_.image, 8, image_);
    for (const Filler& f : fillers_) f.filler->fill(view, rows_of(f));
  }
  // One that is hidden was not looked at.
  if (stream_->checks_images() && (view.has_image || !record.has_image())) stream_->sound.insert(sample);
}

}  // namespace triptych::data
