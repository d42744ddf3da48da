#include <limits>

#include "base/error.h"
#include "base/philox.h"
#include "data/field_sources.h"

namespace triptych::data {
namespace {

constexpr int32_t kNone = -1;

class LabelFiller : public RowFiller {
 public:
  explicit LabelFiller(int64_t num_classes) : num_classes_(num_classes) {}

  void fill(const LoadedSample& sample, FieldRows rows) override {
    const std::optional<int64_t>& label = sample.record.label;
    if (label && (*label < 0 || *label >= num_classes_)) {
      throw UserError("label", fmt::format("a label must be below the number of classes, {}; {} has label {}. Raise "
                                           "the number of classes, or label the data set again.",
                                           num_classes_, sample.name(), *label));
    }
    values_of<int32_t>(rows[0])[0] = label ? static_cast<int32_t>(*label) : kNone;
  }

  void clear(FieldRows rows) override { values_of<int32_t>(rows[0])[0] = kNone; }

 private:
  int64_t num_classes_;
};

}  // namespace

FieldSource label_field(int64_t num_classes) {
  if (num_classes < 1 || num_classes > std::numeric_limits<int32_t>::max()) {
    throw UserError("label", fmt::format("the number of classes must be 1 to {}, found {}. Correct the configuration.",
                                         std::numeric_limits<int32_t>::max(), num_classes));
  }
  return {.fields = {{.name = "label", .dtype = DType::kInt32}},
          .make = [=] { return std::make_unique<LabelFiller>(num_classes); },
          .synthesize =
              [=](uint64_t seed, int64_t global_row, FieldRows rows) {
                const auto words =
                    philox4x32(random_key(seed, "synthetic/label", 0), static_cast<uint64_t>(global_row));
                const auto label = static_cast<int32_t>(words[1] % static_cast<uint64_t>(num_classes));
                values_of<int32_t>(rows[0])[0] = words[0] % 5 == 0 ? kNone : label;
              }};
}

}  // namespace triptych::data
