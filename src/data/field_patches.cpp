#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/philox.h"
#include "data/field_sources.h"
#include "data/random_subset.h"
#include "data/synthetic_rows.h"

namespace triptych::data {
namespace {

enum Row : std::size_t { kVisible, kMasked, kSources };

// The fields of a row whose visible patches are there.
void fill_others(FieldRows rows, bool has_image) {
  const std::span<int32_t> visible = values_of<int32_t>(rows[kVisible]), masked = values_of<int32_t>(rows[kMasked]),
                           sources = values_of<int32_t>(rows[kSources]);
  std::ranges::fill(sources, 0);
  for (std::size_t k = 0; k < visible.size(); ++k) {
    sources[static_cast<std::size_t>(visible[k])] = static_cast<int32_t>(k) + 1;
  }
  std::size_t num_masked = 0;
  for (std::size_t patch = 0; patch < sources.size(); ++patch) {
    if (sources[patch] == 0) masked[num_masked++] = has_image ? static_cast<int32_t>(patch) : -1;
  }
}

void draw_patches(RandomKey key, bool has_image, FieldRows rows) {
  const auto num_patches = static_cast<int64_t>(values_of<int32_t>(rows[kSources]).size());
  draw_subset(key, num_patches, values_of<int32_t>(rows[kVisible]));
  fill_others(rows, has_image);
}

class PatchMaskFiller : public RowFiller {
 public:
  void fill(const LoadedSample& sample, FieldRows rows) override {
    draw_patches(random_key(sample.seed, "mask/patches", sample.position), sample.has_image, rows);
  }
  void clear(FieldRows rows) override {
    const std::span<int32_t> visible = values_of<int32_t>(rows[kVisible]);
    std::iota(visible.begin(), visible.end(), 0);
    fill_others(rows, false);
  }
};

}  // namespace

FieldSource patch_mask_fields(int64_t num_patches, int64_t num_visible) {
  if (num_visible < 1 || num_visible >= num_patches) {
    throw UserError("patches",
                    fmt::format("some of an image's patches are visible and some masked, found {} visible of "
                                "{}. Correct the configuration.",
                                num_visible, num_patches));
  }
  return {.fields = {{.name = "visible_patches", .dtype = DType::kInt32, .dims = {num_visible}},
                     {.name = "masked_patches", .dtype = DType::kInt32, .dims = {num_patches - num_visible}},
                     {.name = "patch_sources", .dtype = DType::kInt32, .dims = {num_patches}}},
          .make = [] { return std::make_unique<PatchMaskFiller>(); },
          .synthesize =
              [](uint64_t seed, int64_t global_row, FieldRows rows) {
                draw_patches(random_key(seed, "synthetic/patches", static_cast<uint64_t>(global_row)),
                             !synthetic_row_lacks(kSyntheticImageAbsent, seed, global_row), rows);
              }};
}

}  // namespace triptych::data
