#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <string>
#include <type_traits>
#include <vector>

#include "base/hash.h"
#include "data/index_file.h"

// index.json, and the header of index.bin, which it describes.

namespace triptych::data {

inline constexpr uint64_t kIndexVersion = 1;
inline constexpr uint64_t kAnnotatedIndexVersion = 2;  ///< has roles or boxes

/// The first bytes of index.bin.
struct ArraysHeader {
  std::array<char, 8> magic{'T', 'R', 'I', 'P', 'T', 'I', 'D', 'X'};
  uint64_t version = kIndexVersion;
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;
  uint64_t has_labels = 0;
  uint64_t has_roles = 0;
  uint64_t num_boxes = 0;
  uint64_t reserved = 0;
  bool operator==(const ArraysHeader&) const = default;

  /// Of the file that it begins.
  uint64_t num_bytes() const;
};
static_assert(sizeof(ArraysHeader) == 64 && std::is_trivially_copyable_v<ArraysHeader>);

/// Of the version that is the first to know all of it.
ArraysHeader make_arrays_header(uint64_t num_samples, uint64_t num_captions, bool has_labels, bool has_roles,
                                uint64_t num_boxes);

/// What index.json says.
struct IndexDescription {
  std::string data_set_id;
  std::vector<IndexedShard> shards;
  ArraysHeader header;  ///< as index.bin must have it
  uint64_t arrays_bytes = 0;
  Hash128 arrays_hash;   ///< of index.bin
  std::string checksum;  ///< of what is said here; made when it is written
};

/// Reads index.json of a folder and checks all that can be checked without another file. Throws UserError if there is
/// none, WorldError that names it if it is damaged.
IndexDescription read_index_description(const std::filesystem::path& dir);

/// Writes it, atomically.
void write_index_description(const std::filesystem::path& dir, const IndexDescription& index);

/// "Run `triptych index data/a` to make it again".
std::string index_remedy(const std::filesystem::path& dir);

}  // namespace triptych::data
