#include "data/row_filler.h"

#include <algorithm>
#include <chrono>

#include "base/error.h"
#include "base/philox.h"
#include "base/text.h"

namespace triptych {
namespace {

// With one sample in ten bad, sixteen attempts all fail once in 10^16 rows.
constexpr int kMaxAttempts = 16;

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

}  // namespace

void RowWork::add(const RowWork& other) {
  storage_ns += other.storage_ns;
  decode_ns += other.decode_ns;
  collate_ns += other.collate_ns;
  num_samples += other.num_samples;
  bytes_read += other.bytes_read;
}

uint64_t SampleStream::training_sample(uint64_t position, int attempt) const {
  const SampleOrder::Place place = order.place(position);
  if (attempt == 0) return order.sample(place.epoch, place.index);
  const auto words = philox4x32(random_key(options.seed, "replacement", position), static_cast<uint64_t>(attempt));
  const uint64_t word = uint64_t{words[0]} << 32 | words[1];
  return order.sample(place.epoch, word % order.num_samples());
}

void RowFiller::fill(Batch& batch, int64_t begin, int64_t end, const std::atomic<bool>& stopping) {
  captions_.resize(std::max(captions_.size(), static_cast<std::size_t>(end - begin)));
  for (int64_t row = begin; row < end; ++row) {
    if (stopping) return;
    fill_row(batch, row, captions_[static_cast<std::size_t>(row - begin)]);
  }
  // Together, so that the tokenizer's tables are loaded into the cache once for all these rows.
  if (stream_->options.text_length > 0) tokenize(batch, begin, end);
}

void RowFiller::fill_row(Batch& batch, int64_t row, std::string& caption) {
  const LoaderOptions& options = stream_->options;
  const auto r = static_cast<std::size_t>(row);
  const uint64_t position = static_cast<uint64_t>(batch.step) * static_cast<uint64_t>(options.global_batch) +
                            static_cast<uint64_t>(batch.first_index + row);
  if (!options.training && position >= stream_->dataset->size()) {  // pads the last batch
    batch.sample_ids[r] = kNoSample;
    clear_row(batch, r);
    caption.clear();
    return;
  }
  const int num_attempts = options.training ? kMaxAttempts : 1;
  for (int attempt = 0; attempt < num_attempts; ++attempt) {
    const uint64_t sample = options.training ? stream_->training_sample(position, attempt) : position;
    batch.sample_ids[r] = sample;
    ++work.num_samples;
    try {
      use_sample(sample, position, batch, r, caption);
      stream_->sound.insert(sample);
      return;
    } catch (const Error& error) {
      if (error.kind() == ErrorKind::kInternal) throw;
      if (stream_->sound.contains(sample)) {
        throw WorldError("loader",
                         fmt::format("a sample must not change during a run; {} was sound before and is not any "
                                     "more: {} Resume the run; if it is bad for good, it will be replaced.",
                                     stream_->dataset->sample_name(sample), error.what()));
      }
      bad.push_back({row, attempt, {sample, stream_->dataset->sample_name(sample), error.what()}});
    }
  }
  if (options.training) {
    throw WorldError(
        "loader",
        fmt::format("a row needs one sound sample; {} were tried for row {} of step {} and all are "
                    "bad, the last being {}: {}. Repair the data set and index it again.",
                    kMaxAttempts, batch.first_index + row, batch.step, bad.back().bad.name, bad.back().bad.reason));
  }
  clear_row(batch, r);
  caption.clear();
}

void RowFiller::use_sample(uint64_t sample, uint64_t position, Batch& batch, std::size_t row, std::string& caption) {
  const LoaderOptions& options = stream_->options;
  const bool reads_image = options.image_size > 0 || (options.check_unused_images && !stream_->sound.contains(sample));
  {
    const Timer timer(work.storage_ns);
    stream_->dataset->read(sample, buffer_, reads_image ? SampleParts::kAll : SampleParts::kCaptions);
  }
  work.bytes_read += buffer_.image.size() + buffer_.caption_bytes.size();
  batch.image_present[row] = reads_image ? !buffer_.image.empty() : stream_->dataset->record(sample).has_image();
  batch.text_present[row] = buffer_.num_captions() > 0;
  {
    const Timer timer(work.decode_ns);
    use_image(position, batch, row);
  }
  use_caption(position, caption);
}

void RowFiller::use_image(uint64_t position, Batch& batch, std::size_t row) {
  const LoaderOptions& options = stream_->options;
  const auto size = static_cast<uint32_t>(options.image_size);
  const std::size_t row_bytes = std::size_t{3} * size * size;
  const std::span<uint8_t> out = std::span(batch.pixels).subspan(row * row_bytes, row_bytes);
  if (buffer_.image.empty()) {
    std::ranges::fill(out, uint8_t{0});
    return;
  }
  if (size == 0) {  // only whether it is sound; a JPEG's checks lie in its entropy code, which every reduction reads
    decoder_.decode(buffer_.image, 8, image_);
    return;
  }
  const ImageInfo info = probe_image(buffer_.image);
  Augmentation augmentation;
  if (options.training) {
    augmentation = draw_augmentation(options.augment, options.seed, position, info.width, info.height);
  } else {
    augmentation.crop = center_square(info.width, info.height);
  }
  decoder_.decode(buffer_.image, decode_reduction(augmentation.crop, size), image_);
  resizer_.resize(image_, scale_box(augmentation.crop, info.width, info.height, image_), size, out);
  apply_augmentation(augmentation, size, out);
}

void RowFiller::use_caption(uint64_t position, std::string& caption) {
  const LoaderOptions& options = stream_->options;
  caption.clear();
  if (const uint64_t count = buffer_.num_captions(); count > 0) {
    const uint64_t word = options.training ? philox_word(random_key(options.seed, "caption", position), 0) : 0;
    caption = buffer_.caption(static_cast<std::size_t>(word * count >> 32));
  }
  // Checked on every rank, so that all of them find the same samples bad.
  if (!is_utf8(caption)) {
    throw WorldError(
        "loader",
        fmt::format("a caption must be UTF-8; one of {} bytes is not. Repair it and index again.", caption.size()));
  }
}

void RowFiller::tokenize(Batch& batch, int64_t begin, int64_t end) {
  const Timer timer(work.collate_ns);
  const auto length = static_cast<std::size_t>(stream_->options.text_length);
  for (int64_t row = begin; row < end; ++row) {
    const auto r = static_cast<std::size_t>(row);
    const std::span<int32_t> ids = std::span(batch.tokens).subspan(r * length, length);
    batch.lengths[r] = stream_->tokenizer->encode(captions_[static_cast<std::size_t>(row - begin)], ids);
  }
}

/// But for its tokens: an empty caption gives begin and end alone.
void RowFiller::clear_row(Batch& batch, std::size_t row) const {
  const auto size = static_cast<std::size_t>(stream_->options.image_size);
  batch.image_present[row] = batch.text_present[row] = 0;
  std::ranges::fill(std::span(batch.pixels).subspan(row * 3 * size * size, 3 * size * size), uint8_t{0});
}

}  // namespace triptych
