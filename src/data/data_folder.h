#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_index.h"
#include "data/sample_record.h"
#include "data/shard_cache.h"

namespace triptych::data {

/// How a folder is opened.
struct FolderOptions {
  /// What another process of this machine found in the same folder, index and shards; null: nothing.
  const CheckedIndex* checked = nullptr;
  IndexProgress progress = {};
  /// Where a data set behind an address is kept; null: there must be none.
  const CacheOptions* cache = nullptr;
};

/// A folder of shards with an index, opened; or what is such a folder behind an address, whose index is fetched when it
/// is opened, and each shard when it is first read (ShardCache). Opening checks the index, every shard's size and the
/// hash of its metadata, and never scans samples; HDF5 itself is not involved, since the index knows where the bytes
/// lie.
///
/// Samples are numbered 0 .. size()-1 in the order of the index. All const members may be called from several threads.
/// Memory of its own: a little a shard. The index is mapped (MappedIndex): pages of it that are in use are shared by
/// the processes of the machine. Who writes into it while it is open, which no program of ours does, makes samples
/// errors, or ends the process where it is cut.
class DataFolder {
 public:
  /// Throws UserError if `dir` is no indexed data set, is empty or was indexed before its shards changed shape,
  /// WorldError if an index or shard file is damaged. The message names the file.
  static DataFolder open(const std::string& place, const FolderOptions& options = {});
  DataFolder(DataFolder&&) noexcept;
  DataFolder& operator=(DataFolder&&) noexcept;
  ~DataFolder();

  /// As it was opened: a folder or an address.
  const std::filesystem::path& path() const;
  /// Where its index, class names and tokenizer lie: path(), or the cache of the address.
  const std::filesystem::path& local_folder() const;
  bool is_remote() const;
  /// Samples of these shards will be read soon, in this order; those of an address are fetched ahead.
  void expect(std::vector<uint32_t> shards) const;
  /// Of the `most` largest shards together.
  uint64_t bytes_of_largest(uint64_t most) const;
  /// The same for all shards.
  const std::string& data_set_id() const;
  /// What opening has found out.
  const IndexFacts& facts() const;
  /// For other processes of this machine that open the folder.
  const CheckedIndex& checked() const;
  uint64_t size() const;
  uint64_t num_captions() const;  ///< texts of every role
  bool has_labels() const;
  uint32_t num_shards() const;
  std::string_view shard_name(uint32_t shard) const;
  uint64_t first_sample(uint32_t shard) const;

  uint64_t id(uint64_t i) const;
  /// "shard_00000.h5 sample 17 (id 42)", with the sample's place in its shard; for messages.
  std::string sample_name(uint64_t i) const;
  /// Throws WorldError if the index was written into since it was opened.
  SampleRecord record(uint64_t i) const;
  /// Reads the asked parts and checks their checksums; the other parts of `buffer` become empty. A read that fails is
  /// tried again, three times in 0.4 seconds, on the file opened anew; not so while the shard's last read failed for
  /// all that. Throws WorldError that names the file and the sample.
  void read(uint64_t i, SampleBuffer& buffer, SampleParts parts = SampleParts::kAll) const;

 private:
  struct State;
  explicit DataFolder(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace triptych::data
