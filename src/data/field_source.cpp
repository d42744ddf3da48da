#include "data/field_source.h"

#include <algorithm>

#include "base/error.h"

namespace triptych::data {
namespace {

bool gives(const FieldSource& source, std::string_view name) {
  return std::ranges::any_of(source.fields, [&](const FieldSpec& field) { return field.name == name; });
}

}  // namespace

std::vector<std::string_view> LoadedSample::answers() const {
  std::vector<std::string_view> found;
  if (!caption || record.role(*caption) != TextRole::kQuestion) return found;
  for (uint32_t k = *caption + 1; k < record.num_captions && record.role(k) == TextRole::kAnswer; ++k) {
    found.push_back(bytes.caption(k));
  }
  return found;
}

std::vector<FieldSpec> fields_of(std::span<const FieldSource> sources) {
  std::vector<FieldSpec> fields;
  for (const FieldSource& source : sources) fields.insert(fields.end(), source.fields.begin(), source.fields.end());
  return fields;
}

std::vector<FieldSource> sources_of(std::span<const FieldSource> sources, std::span<const std::string> names) {
  for (const std::string& name : names) {
    TRIPTYCH_CHECK(std::ranges::any_of(sources, [&](const FieldSource& source) { return gives(source, name); }),
                   "no source gives field {}", name);
  }
  std::vector<FieldSource> result;
  for (const FieldSource& source : sources) {
    if (std::ranges::any_of(names, [&](const std::string& name) { return gives(source, name); })) {
      result.push_back(source);
    }
  }
  return result;
}

bool reads_images(std::span<const FieldSource> sources) {
  return std::ranges::any_of(sources,
                             [](const FieldSource& source) { return has_part(source.reads, SampleParts::kImage); });
}

Batch synthetic_batch(std::span<const FieldSource> sources, uint64_t seed, int64_t first_row, int64_t num_rows) {
  Batch batch(std::make_shared<const std::vector<FieldSpec>>(fields_of(sources)), num_rows);
  batch.first_index = first_row;
  std::vector<std::span<std::byte>> rows;
  for (int64_t r = 0; r < num_rows; ++r) {
    batch.sample_ids[static_cast<std::size_t>(r)] = static_cast<uint64_t>(first_row + r);
    std::size_t field = 0;
    for (const FieldSource& source : sources) {
      rows.clear();
      for (std::size_t i = 0; i < source.fields.size(); ++i) rows.push_back(batch.row_bytes(field++, r));
      source.synthesize(seed, first_row + r, rows);
    }
  }
  return batch;
}

}  // namespace triptych::data
