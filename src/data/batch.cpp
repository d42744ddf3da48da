#include "data/batch.h"

#include "base/error.h"

namespace triptych::data {

Batch::Batch(std::shared_ptr<const std::vector<FieldSpec>> fields, int64_t num_rows)
    : sample_ids(static_cast<std::size_t>(num_rows), kNoSample),
      attempts(static_cast<std::size_t>(num_rows)),
      fields_(std::move(fields)) {
  for (const FieldSpec& field : *fields_) {
    TRIPTYCH_CHECK(&at(field.name) == &field, "two fields are named {}", field.name);
    arrays.emplace_back(static_cast<std::size_t>(num_rows * field.row_bytes()));
  }
}

std::span<const FieldSpec> Batch::fields() const {
  if (fields_ == nullptr) return {};
  return *fields_;
}

std::span<std::byte> Batch::row_bytes(std::size_t field, int64_t r) {
  const auto size = static_cast<std::size_t>((*fields_)[field].row_bytes());
  return std::span(arrays[field]).subspan(static_cast<std::size_t>(r) * size, size);
}

const FieldSpec* Batch::find(std::string_view name) const {
  for (const FieldSpec& field : fields()) {
    if (field.name == name) return &field;
  }
  return nullptr;
}

const FieldSpec& Batch::at(std::string_view name) const {
  const FieldSpec* field = find(name);
  if (field == nullptr) {
    std::string there;
    for (const FieldSpec& other : fields()) there += (there.empty() ? "" : ", ") + other.name;
    throw InternalError("batch",
                        fmt::format("{} is read but not there, found {}. Give the loader a source that has it.", name,
                                    there.empty() ? "none" : there));
  }
  return *field;
}

void Batch::check_type(const FieldSpec& field, DType asked) {
  TRIPTYCH_CHECK(field.dtype == asked, "field {} holds {}, not {}", field.name, dtype_name(field.dtype),
                 dtype_name(asked));
}

}  // namespace triptych::data
