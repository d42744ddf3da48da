#include "data/next_texts.h"

#include <utility>

namespace triptych::data {
namespace {

class NextTextFiller : public RowFiller {
 public:
  explicit NextTextFiller(std::unique_ptr<RowFiller> filler) : filler_(std::move(filler)) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    if (!sample.caption) return filler_->fill(sample, rows);
    const uint64_t next = (sample.sample + 1) % sample.dataset.size();
    const SampleRecord record = sample.dataset.record(next);
    sample.dataset.read(next, buffer_, SampleParts::kCaptions);
    LoadedSample shown{.dataset = sample.dataset,
                       .bytes = buffer_,
                       .record = record,
                       .sample = sample.sample,
                       .position = sample.position,
                       .has_image = sample.has_image,
                       .seed = sample.seed,
                       .training = sample.training,
                       .has_targets = sample.has_targets};
    if (record.has_captions()) shown.caption = record.nth_text(TextRole::kCaption, 0);
    filler_->fill(shown, rows);
  }
  void clear(FieldRows rows) override { filler_->clear(rows); }
  void finish() override { filler_->finish(); }

 private:
  std::unique_ptr<RowFiller> filler_;
  SampleBuffer buffer_;
};

}  // namespace

std::vector<FieldSource> with_texts_of_next(std::vector<FieldSource> sources) {
  for (FieldSource& source : sources) {
    if (has_part(source.reads, SampleParts::kImage)) continue;
    source.make = [make = std::move(source.make)] { return std::make_unique<NextTextFiller>(make()); };
  }
  return sources;
}

}  // namespace triptych::data
