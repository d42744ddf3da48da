#include "data/index_file.h"

#include <algorithm>
#include <array>
#include <span>

#include "base/file.h"
#include "data/index_json.h"
#include "data/mapped_index.h"

namespace triptych::data {

void write_index(const std::filesystem::path& dir, const DatasetIndex& index) {
  const ArraysHeader header = make_arrays_header(index.records.size(), index.caption_bytes.size(),
                                                 !index.labels.empty(), !index.roles.empty(), index.boxes.size());
  const std::array<std::span<const std::byte>, 7> parts{
      std::as_bytes(std::span(&header, 1)),   std::as_bytes(std::span(index.records)),
      std::as_bytes(std::span(index.labels)), std::as_bytes(std::span(index.caption_bytes)),
      std::as_bytes(std::span(index.roles)),  std::as_bytes(std::span(index.box_first)),
      std::as_bytes(std::span(index.boxes))};
  Hasher hasher;
  std::string arrays;
  for (const auto part : parts) {
    hasher.update(part);
    arrays.append(reinterpret_cast<const char*>(part.data()), part.size());
  }
  write_file_atomically(dir / kIndexArraysName, arrays);
  write_index_description(dir, {.data_set_id = index.data_set_id,
                                .shards = index.shards,
                                .header = header,
                                .arrays_bytes = arrays.size(),
                                .arrays_hash = hasher.digest()});
}

DatasetIndex read_index(const std::filesystem::path& dir) {
  const MappedIndex mapped = MappedIndex::open(dir);
  const IndexArrays& arrays = mapped.arrays();
  const auto copy = [](const auto& from, auto& to) { to.assign(from.begin(), from.end()); };
  DatasetIndex index;
  index.data_set_id = mapped.data_set_id();
  index.shards = mapped.shards();
  copy(arrays.records, index.records);
  copy(arrays.caption_bytes, index.caption_bytes);
  copy(arrays.labels, index.labels);
  copy(arrays.roles, index.roles);
  copy(arrays.box_first, index.box_first);
  copy(arrays.boxes, index.boxes);
  return index;
}

}  // namespace triptych::data
