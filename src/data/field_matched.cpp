#include "base/philox.h"
#include "data/field_sources.h"

namespace triptych::data {
namespace {

class MatchedFiller : public RowFiller {
 public:
  void fill(const LoadedSample& sample, FieldRows rows) override {
    set(rows, !sample.has_targets || is_matched(sample.seed, sample.position));
  }
  void clear(FieldRows rows) override { set(rows, false); }

  static bool is_matched(uint64_t seed, uint64_t position) {
    return philox_word(random_key(seed, "matched", 0), position) % 2 == 1;
  }
  static void set(FieldRows rows, bool matched) { values_of<uint8_t>(rows[0])[0] = matched ? 1 : 0; }
};

}  // namespace

FieldSource matched_field() {
  return {.fields = {{.name = "matched", .dtype = DType::kUInt8}},
          .make = [] { return std::make_unique<MatchedFiller>(); },
          .synthesize =
              [](uint64_t seed, int64_t global_row, FieldRows rows) {
                MatchedFiller::set(rows, MatchedFiller::is_matched(seed, static_cast<uint64_t>(global_row)));
              }};
}

}  // namespace triptych::data
