#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "tensor/field.h"

namespace triptych::data {

inline constexpr uint64_t kNoSample = ~uint64_t{0};

/// Some samples in host memory: their numbers and, field by field, their values. The loader's are the rows
/// [dp_rank * B, (dp_rank + 1) * B) of a global batch; B = global_batch / dp_size.
class Batch {
 public:
  Batch() = default;
  /// `num_rows` rows of the given fields, whose names differ; the values are undefined.
  Batch(std::shared_ptr<const std::vector<FieldSpec>> fields, int64_t num_rows);

  int64_t step = 0;
  int64_t first_index = 0;  ///< of the first row, within the global batch
  /// [B] index in the data set; kNoSample in rows that pad an evaluation's batch.
  std::vector<uint64_t> sample_ids;
  /// [B] how many samples of the row's position could not be used before this one: 0 nearly always. In an evaluation,
  /// which replaces nothing, 1 where the row's sample cannot be used.
  std::vector<int32_t> attempts;
  /// [B] which of its sample's texts a row is, in an evaluation over captions; else empty.
  std::vector<uint32_t> caption_numbers;
  /// Of each field, in the order of fields(): [B, dims...].
  std::vector<std::vector<std::byte>> arrays;

  int64_t num_rows() const { return static_cast<int64_t>(sample_ids.size()); }
  std::span<const FieldSpec> fields() const;
  bool contains(std::string_view name) const { return find(name) != nullptr; }
  const FieldSpec& spec(std::string_view name) const { return at(name); }
  std::span<const std::byte> bytes(std::string_view name) const { return arrays[index_of(at(name))]; }

  /// All rows' values of a field, one after the other. T is its type; throws InternalError if it is not, or if there is
  /// no such field.
  template <typename T>
  std::span<const T> values(std::string_view name) const {
    const FieldSpec& field = at(name);
    check_type(field, dtype_of<T>);
    const std::vector<std::byte>& array = arrays[index_of(field)];
    return {reinterpret_cast<const T*>(array.data()), array.size() / sizeof(T)};
  }
  /// Row r's values of a field; a scalar is a span of one.
  template <typename T>
  std::span<const T> row(std::string_view name, int64_t r) const {
    const auto size = static_cast<std::size_t>(at(name).dims.num_elements());
    return values<T>(name).subspan(static_cast<std::size_t>(r) * size, size);
  }
  /// Row r of field number `field`, to be filled.
  std::span<std::byte> row_bytes(std::size_t field, int64_t r);

 private:
  const FieldSpec* find(std::string_view name) const;
  const FieldSpec& at(std::string_view name) const;
  std::size_t index_of(const FieldSpec& field) const { return static_cast<std::size_t>(&field - fields_->data()); }
  static void check_type(const FieldSpec& field, DType asked);

  std::shared_ptr<const std::vector<FieldSpec>> fields_;
};

}  // namespace triptych::data
