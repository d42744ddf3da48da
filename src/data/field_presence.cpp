#include "data/field_sources.h"
#include "data/synthetic_rows.h"

namespace triptych::data {
namespace {

class PresenceFiller : public RowFiller {
 public:
  void fill(const LoadedSample& sample, FieldRows rows) override {
    set(rows, sample.has_image, sample.caption.has_value());
  }
  void clear(FieldRows rows) override { set(rows, false, false); }

  static void set(FieldRows rows, bool image, bool text) {
    values_of<uint8_t>(rows[0])[0] = image;
    values_of<uint8_t>(rows[1])[0] = text;
  }
};

}  // namespace

FieldSource presence_fields() {
  return {
      .fields = {{.name = "image_present", .dtype = DType::kUInt8}, {.name = "text_present", .dtype = DType::kUInt8}},
      .make = [] { return std::make_unique<PresenceFiller>(); },
      .synthesize =
          [](uint64_t seed, int64_t global_row, FieldRows rows) {
            PresenceFiller::set(rows, !synthetic_row_lacks(kSyntheticImageAbsent, seed, global_row),
                                !synthetic_row_lacks(kSyntheticTextAbsent, seed, global_row));
          }};
}

}  // namespace triptych::data
