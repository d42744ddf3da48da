#include "data/hidden_parts.h"

#include <utility>

namespace triptych::data {
namespace {

class HidingFiller : public RowFiller {
 public:
  HidingFiller(std::unique_ptr<RowFiller> filler, SampleParts hidden) : filler_(std::move(filler)), hidden_(hidden) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    LoadedSample shown = sample;
    if (has_part(hidden_, SampleParts::kImage)) shown.has_image = false;
    if (has_part(hidden_, SampleParts::kCaptions)) shown.caption.reset();
    filler_->fill(shown, rows);
  }
  void clear(FieldRows rows) override { filler_->clear(rows); }
  void finish() override { filler_->finish(); }

 private:
  std::unique_ptr<RowFiller> filler_;
  SampleParts hidden_;
};

}  // namespace

std::vector<FieldSource> hiding(std::vector<FieldSource> sources, SampleParts hidden) {
  for (FieldSource& source : sources) {
    source.make = [make = std::move(source.make), hidden] { return std::make_unique<HidingFiller>(make(), hidden); };
  }
  return sources;
}

}  // namespace triptych::data
