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

SampleStream::SampleStream(std::shared_ptr<const Dataset> source, LoaderOptions with)
    : dataset(std::move(source)),
      options(std::move(with)),
      fields(std::make_shared<const std::vector<FieldSpec>>(fields_of(options.fields))),
      order(options.seed, dataset->size(), options.training ? static_cast<uint64_t>(options.global_batch) : 1),
      sound(dataset->size()) {
  for (const FieldSource& field : options.fields) reads = reads | field.reads;
  if (options.training || options.items != EvaluationItems::kCaptions) return;
  uint64_t count = 0;
  first_caption_.push_back(0);
  for (uint64_t i = 0; i < dataset->size(); ++i) {
    count += dataset->record(i).num_texts(options.text_role);
    first_caption_.push_back(count);
  }
}

uint64_t SampleStream::num_items() const {
  return first_caption_.empty() ? dataset->size() : first_caption_.back();
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
  const uint64_t n = order.num_samples(), batch = static_cast<uint64_t>(options.global_batch), row = position % batch;
  const uint64_t epoch = order.place(position - row).epoch;
  const RandomKey key = random_key(options.seed, "replacement", position);
  // At first row r draws among the places r, r + batch, ... of one epoch, so that two rows do not draw the same sample;
  // a small set has few of them, which may all be bad.
  const uint64_t num_places = (n - row + batch - 1) / batch;
  constexpr uint64_t kDraws = 32;
  const uint64_t num_own_draws = attempt <= 4 ? kDraws / 2 : 0;
  uint64_t sample = 0;
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    const auto words = philox4x32(key, static_cast<uint64_t>(attempt) * kDraws + draw);
    const uint64_t word = uint64_t{words[0]} << 32 | words[1];
    sample = order.sample(epoch, draw < num_own_draws ? row + batch * (word % num_places) : word % n);
    if (!std::ranges::binary_search(batch_samples, sample)) break;
  }
  return sample;
}

SampleStream::Item SampleStream::evaluation_item(uint64_t position) const {
  if (first_caption_.empty()) return {position, 0};
  // The last sample that begins at or before it: one without captions begins where the next does.
  const auto next = std::ranges::upper_bound(first_caption_, position);
  const auto sample = static_cast<uint64_t>(next - first_caption_.begin() - 1);
  const auto number = static_cast<uint32_t>(position - first_caption_[sample]);
  return {sample, dataset->record(sample).nth_text(options.text_role, number)};
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
  if (!options.training && position >= stream_->num_items()) {  // pads the last batch
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
  const bool wants_image = is_decoded || (options.check_unused_images && !stream_->sound.contains(sample));
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
                    .training = options.training};
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
  if (view.has_image || !record.has_image()) stream_->sound.insert(sample);  // one that is hidden was not looked at
}

}  // namespace triptych::data
