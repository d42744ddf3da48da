#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "data/index_file.h"
#include "data/remote_file.h"

namespace triptych::data {

/// Where what is fetched is kept, and how much of it.
struct CacheOptions {
  std::filesystem::path dir;
  uint64_t max_bytes = 0;  ///< of shards; indexes come on top
  RemotePatience patience = {};
};

/// Throws what is wrong with a shard that was fetched: its bytes are not those that were indexed.
using CheckShard = std::function<void(const File& file, uint32_t shard)>;

/// The cache of one remote data set: `dir`/triptych-HASH, HASH being that of its address, with
///
///   origin.json             says the address; a folder without it is none of ours, and nothing in it is removed
///   index.json, index.bin   and classes.txt, tokenizer.model where there are some
///   000012_HASH.shard       a shard that was fetched and checked; HASH is that of its metadata
///   000012_HASH.BYTES.part  one that is on its way, of BYTES in the end
///   lock                    empty; number n of it is locked while shard n is fetched
///
/// Processes that use one cache at the same time fetch each shard once. Before one is fetched those of all data sets in
/// `dir` that were longest not opened give way, until all that stay, and it, fit in max_bytes; a reader that has one
/// open goes on reading it.
class ShardCache {
 public:
  /// Makes the folder. Throws UserError if one of its name is there and none of ours, or the address is none.
  ShardCache(const std::string& url, CacheOptions options);
  /// Ends what is being fetched ahead.
  ~ShardCache();

  const RemoteFolderUrl& url() const { return url_; }
  const std::filesystem::path& folder() const { return folder_; }

  /// Brings the index, class names and tokenizer up to what the server has. One process at a time.
  void refresh();
  /// Fetches index.bin although it is there, for it is damaged.
  void refetch_arrays();

  /// What shards are, as the index says, and how one that was fetched is checked; before the next two are used.
  void set_shards(std::span<const IndexedShard> shards, CheckShard check);
  /// The file of a shard, fetched if it is not there. Throws WorldError that names its address if it cannot be fetched.
  File open(uint32_t shard);
  /// Removes a shard whose file is damaged, so that the next open() fetches it.
  void discard(uint32_t shard);
  /// These will be opened soon, in this order: they are fetched in the background. What was expected before is not any
  /// more.
  void expect(std::vector<uint32_t> shards);

 private:
  std::filesystem::path file_of(uint32_t shard) const;
  std::filesystem::path part_of(uint32_t shard) const;
  bool is_here(uint32_t shard) const;
  void fetch(uint32_t shard);
  void make_room(uint32_t shard);
  void fetch_arrays();
  void fetch_ahead(const std::stop_token& stop);

  RemoteFolderUrl url_;
  CacheOptions options_;
  std::filesystem::path folder_;
  std::span<const IndexedShard> shards_;
  CheckShard check_;

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<uint32_t> expected_;  // backwards; under mutex_
  std::atomic<bool> stopping_ = false;
  std::vector<std::jthread> threads_;  // begun by the first expect(); last: they use the rest
};

}  // namespace triptych::data
