#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "data/index_facts.h"
#include "data/index_file.h"
#include "data/packed_array.h"

namespace triptych::data {

/// Told now and then while an index is checked: the bytes that were looked at, and how many there are to look at.
using IndexProgress = std::function<void(uint64_t done_bytes, uint64_t all_bytes)>;

/// What index.bin holds, as it lies there: see DatasetIndex.
struct IndexArrays {
  PackedArray<IndexRecord> records;
  PackedArray<int64_t> labels;
  PackedArray<uint32_t> caption_bytes;
  PackedArray<TextRole> roles;
  PackedArray<uint64_t> box_first;
  PackedArray<BoxRecord> boxes;
};

/// Which index was checked, and what was found: for the processes of the same machine that open it too.
struct CheckedIndex {
  std::string identity;  ///< of the two files: a copy has another, and so has one that was written since
  IndexFacts facts;

  /// A line, and the reverse. What is read must have been written so: throws InternalError if not.
  std::string to_text() const;
  static CheckedIndex from_text(const std::string& text);
};

/// A data set's index: index.json in memory, index.bin mapped. So the processes of a machine share its pages, which lie
/// nowhere but in the system's cache, and memory of a process's own is of the order of the shards alone.
///
/// Whoever opens it checks it all, in two passes over index.bin: its hash, and that every record points into its shard.
/// One who is given what another process of the machine has checked does neither, if it sees the very same files.
class MappedIndex {
 public:
  /// Throws UserError if there is no index, WorldError if it is damaged or contradicts itself. The shards are not
  /// touched.
  ///   checked   by another process; null: none
  static MappedIndex open(const std::filesystem::path& dir, const CheckedIndex* checked = nullptr,
                          const IndexProgress& progress = {});

  const std::string& data_set_id() const { return data_set_id_; }
  const std::vector<IndexedShard>& shards() const { return shards_; }
  /// They borrow from this, wherever it is moved.
  const IndexArrays& arrays() const { return arrays_; }
  const CheckedIndex& checked() const { return checked_; }
  /// Bytes of index.bin.
  uint64_t num_bytes() const { return file_.bytes().size(); }
  /// Lets this process hold none of its pages, until it touches them again.
  void let_go() const { file_.release(0, num_bytes()); }
  /// Whether another process's check was taken over.
  bool trusts_another() const { return trusts_another_; }

 private:
  std::string data_set_id_;
  std::vector<IndexedShard> shards_;
  MappedFile file_;
  IndexArrays arrays_;
  CheckedIndex checked_;
  bool trusts_another_ = false;
};

}  // namespace triptych::data
