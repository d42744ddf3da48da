#include <algorithm>
#include <vector>

#include "base/philox.h"
#include "data/field_sources.h"
#include "tests/tasks/rotation/rotation_task.h"

namespace triptych::test {
namespace {

class RotationFiller : public RowFiller {
 public:
  RotationFiller(std::unique_ptr<RowFiller> pixels, int64_t size) : pixels_(std::move(pixels)), size_(size) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    pixels_->fill(sample, rows.first(1));
    if (sample.bytes.image.empty()) {
      values_of<int32_t>(rows[1])[0] = -1;
      return;
    }
    const int32_t turns = quarter_turns(sample.training ? sample.seed : 0, sample.position);
    for (int32_t k = 0; k < turns; ++k) turn_by_a_quarter(values_of<uint8_t>(rows[0]), size_);
    values_of<int32_t>(rows[1])[0] = turns;
  }

  void clear(FieldRows rows) override {
    pixels_->clear(rows.first(1));
    values_of<int32_t>(rows[1])[0] = -1;
  }

 private:
  std::unique_ptr<RowFiller> pixels_;
  int64_t size_;
};

}  // namespace

int32_t quarter_turns(uint64_t seed, uint64_t position) {
  return static_cast<int32_t>(philox4x32(random_key(seed, "rotation", 0), position)[0] % kNumTurns);
}

void turn_by_a_quarter(std::span<uint8_t> pixels, int64_t size) {
  const std::vector<uint8_t> before(pixels.begin(), pixels.end());
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      const auto from = before.begin() + 3 * (x * size + size - 1 - y);
      std::copy(from, from + 3, pixels.begin() + 3 * (y * size + x));
    }
  }
}

FieldSource rotation_fields(int64_t image_size, const AugmentOptions& augment) {
  const FieldSource pixels = pixels_field(image_size, augment);
  FieldSource source = pixels;
  source.fields.push_back({.name = "rotation", .dtype = DType::kInt32});
  source.make = [=] { return std::make_unique<RotationFiller>(pixels.make(), image_size); };
  source.synthesize = [=](uint64_t seed, int64_t global_row, FieldRows rows) {
    pixels.synthesize(seed, global_row, rows.first(1));
    values_of<int32_t>(rows[1])[0] = quarter_turns(seed, static_cast<uint64_t>(global_row));
  };
  return source;
}

}  // namespace triptych::test
