#include "data/data_folder.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <mutex>
#include <numeric>
#include <thread>
#include <unordered_set>

#include <sys/stat.h>

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/index_json.h"
#include "data/shard_files.h"
#include "data/shard_scan.h"

namespace triptych::data {
namespace {

// Far below the usual limit of 1024 descriptors, enough that neighbouring reads find their file open.
constexpr std::size_t kMaxOpenShards = 128;

// Network file systems and busy disks fail for a moment; a disk that stays away is told soon all the same.
constexpr std::array<std::chrono::milliseconds, 3> kPauses{std::chrono::milliseconds(20), std::chrono::milliseconds(80),
                                                           std::chrono::milliseconds(300)};

// The system maps 64 KiB around each record that is touched. So that these do not come to count as this process's
// memory one after the other, they are let go after so many records of an index that is larger than this.
constexpr uint64_t kRecordsHeld = 256;
constexpr uint64_t kBytesHeld = uint64_t{128} << 20;

std::string rebuild(const std::filesystem::path& dir) {
  return fmt::format("If that was meant, run `triptych index {}`; if not, bring the file back", dir.string());
}

void check_shard(const std::filesystem::path& dir, const IndexedShard& shard) {
  const std::filesystem::path path = dir / shard.file;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) {
    throw WorldError(path.string(), fmt::format("is in the index but missing. {}.", rebuild(dir)));
  }
  const File file = File::open_read(path);
  const uint64_t bytes = file.size();
  if (bytes != shard.bytes) {
    throw WorldError(path.string(), fmt::format("must have {} bytes as when it was indexed, found {}: it was cut or "
                                                "replaced. {}.",
                                                shard.bytes, bytes, rebuild(dir)));
  }
  if (hash_metadata(file, bytes, shard.layout) != shard.metadata_hash) {
    throw WorldError(path.string(), fmt::format("its metadata is not what was indexed: it was altered or replaced. {}.",
                                                rebuild(dir)));
  }
}

/// Throws what is wrong with a shard whose file was fetched: every byte that the index answers for is looked at.
void check_fetched_shard(const File& file, const IndexedShard& shard, const IndexArrays& arrays, uint64_t first_sample,
                         uint64_t first_caption) {
  const auto refuse = [&](const std::string& rule) { throw WorldError(shard.file, rule); };
  if (hash_metadata(file, file.size(), shard.layout) != shard.metadata_hash) refuse("its metadata differs");
  std::vector<std::byte> bytes;
  const auto check = [&](uint64_t offset, uint64_t size, uint64_t checksum, uint64_t i, std::string_view what) {
    if (size == 0) return;
    bytes.resize(size);
    file.pread(bytes, offset);
    if (hash64(bytes) != checksum) refuse(fmt::format("the {} of its sample {} differ", what, i));
  };
  for (uint64_t i = 0; i < shard.layout.num_samples; ++i) {
    const IndexRecord record = arrays.records[first_sample + i];
    uint64_t caption_bytes = 0;
    for (uint64_t k = 0; k < record.num_captions; ++k) {
      caption_bytes += arrays.caption_bytes[first_caption + record.first_caption + k];
    }
    check(record.image_offset, record.image_bytes, record.image_checksum, i, "image bytes");
    check(record.captions_offset, caption_bytes, record.caption_checksum, i, "caption bytes");
  }
}

void refuse_unknown_shards(const std::filesystem::path& dir, const std::vector<IndexedShard>& shards) {
  std::unordered_set<std::string_view> known;
  for (const IndexedShard& shard : shards) known.insert(shard.file);
  for (const std::string& name : list_shard_files(dir)) {
    if (!known.contains(name)) {
      throw UserError(dir.string(),
                      fmt::format("holds {}, which its index does not know. Run `triptych index {}` or move "
                                  "the file away.",
                                  name, dir.string()));
    }
  }
}

}  // namespace

struct DataFolder::State {
  std::filesystem::path path, dir;  // as it was opened; where its files lie
  MappedIndex index;
  std::vector<uint64_t> first_sample;   // of each shard, and the total
  std::vector<uint64_t> first_caption;  // of each shard

  std::unique_ptr<ShardCache> cache;  // of an address

  // The files opened last. A reader keeps its file alive while it reads, whatever is closed meanwhile.
  std::mutex mutex;
  std::vector<std::shared_ptr<const File>> files;
  std::deque<uint32_t> open_order;

  // Of each shard: whether the last read of it failed, however often it was tried. The next one is tried once, so that
  // a file that is gone does not take the pauses of every sample.
  std::vector<std::atomic<bool>> is_away;

  std::shared_ptr<const File> file(uint32_t shard) {
    std::unique_lock lock(mutex);
    if (files[shard] != nullptr) return files[shard];
    // To fetch one may take minutes, in which others go on.
    lock.unlock();
    const auto file =
        std::make_shared<const File>(cache ? cache->open(shard) : File::open_read(dir / index.shards()[shard].file));
    lock.lock();
    std::shared_ptr<const File>& slot = files[shard];
    if (slot == nullptr) {
      if (cache) close_removed();
      if (open_order.size() == kMaxOpenShards) {
        files[open_order.front()].reset();
        open_order.pop_front();
      }
      slot = file;
      open_order.push_back(shard);
    }
    return slot;
  }

  /// Of a cache: those that have given way to others; while they are open, the disk keeps them. Under the mutex.
  void close_removed() {
    std::erase_if(open_order, [&](uint32_t shard) {
      struct stat status {};
      if (::fstat(files[shard]->descriptor(), &status) == 0 && status.st_nlink > 0) return false;
      files[shard].reset();
      return true;
    });
  }

  /// Lets the next reader open a shard anew, for what a reader that failed had open.
  void forget(uint32_t shard) {
    const std::lock_guard lock(mutex);
    files[shard].reset();
    std::erase(open_order, shard);
  }

  uint64_t size() const { return first_sample.back(); }

  uint32_t shard_of(uint64_t i) const {
    TRIPTYCH_CHECK(i < size(), "sample {} of {}", i, size());
    return static_cast<uint32_t>(std::upper_bound(first_sample.begin(), first_sample.end(), i) - first_sample.begin() -
                                 1);
  }

  [[noreturn]] void refuse_record(uint64_t i) const {
    throw WorldError((dir / kIndexArraysName).string(),
                     fmt::format("the record of sample {} is not what it was when the data set was opened: the file "
                                 "was written into. {}.",
                                 i, index_remedy(dir)));
  }

  std::atomic<uint64_t> num_touched = 0;

  /// What it points to exists, also if the file was written into since all of it was checked.
  IndexRecord record(uint64_t i, uint32_t shard) {
    if (index.num_bytes() > kBytesHeld && num_touched.fetch_add(1, std::memory_order_relaxed) % kRecordsHeld == 0) {
      index.let_go();
    }
    const IndexRecord record = index.arrays().records[i];
    const uint64_t captions = index.shards()[shard].layout.num_captions;
    if (record.image_bytes > kMaxImageBytes || record.image_format > 3 || record.first_caption > captions ||
        record.num_captions > captions - record.first_caption || record.num_captions > kMaxCaptionsPerSample) {
      refuse_record(i);
    }
    return record;
  }
};

DataFolder::DataFolder(std::unique_ptr<State> state) : state_(std::move(state)) {}
DataFolder::DataFolder(DataFolder&&) noexcept = default;
DataFolder& DataFolder::operator=(DataFolder&&) noexcept = default;
DataFolder::~DataFolder() = default;

DataFolder DataFolder::open(const std::string& place, const FolderOptions& options) {
  auto state = std::make_unique<State>();
  state->path = place;
  state->dir = place;
  State& s = *state;
  if (is_url(place)) {
    if (options.cache == nullptr) {
      throw UserError(place,
                      "must be a folder here: only data.path and [[data.source]] of a training may be an address. "
                      "Copy the data set, or name another");
    }
    s.cache = std::make_unique<ShardCache>(place, *options.cache);
    s.dir = s.cache->folder();
    if (options.checked == nullptr) s.cache->refresh();
  } else {
    list_shard_files(s.dir);  // what is no folder is told before it is said to have no index
  }
  try {
    s.index = MappedIndex::open(s.dir, options.checked, options.progress);
  } catch (const WorldError&) {
    if (!s.cache) throw;
    s.cache->refetch_arrays();  // the copy is damaged, or never was sound
    s.index = MappedIndex::open(s.dir, nullptr, options.progress);
  }
  const std::vector<IndexedShard>& shards = s.index.shards();
  if (!s.index.trusts_another() && !s.cache) {
    refuse_unknown_shards(s.dir, shards);
    for (const IndexedShard& shard : shards) check_shard(s.dir, shard);
  }
  uint64_t samples = 0, captions = 0;
  for (const IndexedShard& shard : shards) {
    s.first_sample.push_back(samples);
    s.first_caption.push_back(captions);
    samples += shard.layout.num_samples;
    captions += shard.layout.num_captions;
  }
  if (samples == 0) throw UserError(place, "is an empty data set: its shards hold no sample.");
  s.first_sample.push_back(samples);
  s.files.resize(shards.size());
  s.is_away = std::vector<std::atomic<bool>>(shards.size());
  if (s.cache) {
    s.cache->set_shards(shards, [&s](const File& file, uint32_t shard) {
      check_fetched_shard(file, s.index.shards()[shard], s.index.arrays(), s.first_sample[shard],
                          s.first_caption[shard]);
    });
  }
  return DataFolder(std::move(state));
}

const std::filesystem::path& DataFolder::path() const {
  return state_->path;
}
const std::filesystem::path& DataFolder::local_folder() const {
  return state_->dir;
}
bool DataFolder::is_remote() const {
  return state_->cache != nullptr;
}
void DataFolder::expect(std::vector<uint32_t> shards) const {
  if (state_->cache) state_->cache->expect(std::move(shards));
}
uint64_t DataFolder::bytes_of_largest(uint64_t most) const {
  std::vector<uint64_t> bytes;
  for (const IndexedShard& shard : state_->index.shards()) bytes.push_back(shard.bytes);
  const auto end = bytes.begin() + static_cast<std::ptrdiff_t>(std::min<uint64_t>(most, bytes.size()));
  std::partial_sort(bytes.begin(), end, bytes.end(), std::greater<>());
  return std::accumulate(bytes.begin(), end, uint64_t{0});
}
const std::string& DataFolder::data_set_id() const {
  return state_->index.data_set_id();
}
const IndexFacts& DataFolder::facts() const {
  return state_->index.checked().facts;
}
const CheckedIndex& DataFolder::checked() const {
  return state_->index.checked();
}
uint64_t DataFolder::size() const {
  return state_->size();
}
uint64_t DataFolder::num_captions() const {
  return state_->index.arrays().caption_bytes.size();
}
bool DataFolder::has_labels() const {
  return !state_->index.arrays().labels.empty();
}
uint32_t DataFolder::num_shards() const {
  return narrow<uint32_t>(state_->index.shards().size());
}
std::string_view DataFolder::shard_name(uint32_t shard) const {
  return state_->index.shards().at(shard).file;
}
uint64_t DataFolder::first_sample(uint32_t shard) const {
  TRIPTYCH_CHECK(shard < num_shards(), "shard {} of {}", shard, num_shards());
  return state_->first_sample[shard];
}
uint64_t DataFolder::id(uint64_t i) const {
  TRIPTYCH_CHECK(i < size(), "sample {} of {}", i, size());
  return state_->index.arrays().records[i].id;
}

std::string DataFolder::sample_name(uint64_t i) const {
  const uint32_t shard = state_->shard_of(i);
  return fmt::format("{} sample {} (id {})", shard_name(shard), i - first_sample(shard), id(i));
}

SampleRecord DataFolder::record(uint64_t i) const {
  const uint32_t shard = state_->shard_of(i);
  const IndexRecord from = state_->record(i, shard);
  SampleRecord record;
  record.id = from.id;
  record.shard = shard;
  record.image_offset = from.image_offset;
  record.image_bytes = from.image_bytes;
  if (from.image_format != 0) record.image_format = static_cast<ImageFormat>(from.image_format - 1);
  record.width = from.width;
  record.height = from.height;
  record.captions_offset = from.captions_offset;
  record.num_captions = from.num_captions;
  record.is_turned = from.is_turned != 0;
  const IndexArrays& arrays = state_->index.arrays();
  if (!arrays.roles.empty()) {
    const auto* roles = reinterpret_cast<const TextRole*>(arrays.roles.bytes().data());
    record.roles = {roles + state_->first_caption[shard] + from.first_caption, from.num_captions};
  }
  if (!arrays.box_first.empty()) {
    const uint64_t first = arrays.box_first[i], end = arrays.box_first[i + 1];
    if (first > end || end > arrays.boxes.size()) state_->refuse_record(i);
    record.boxes = arrays.boxes.part(first, end - first);
  }
  if (has_labels() && arrays.labels[i] != kNoLabel) record.label = arrays.labels[i];
  return record;
}

void DataFolder::read(uint64_t i, SampleBuffer& buffer, SampleParts parts) const {
  const uint32_t shard = state_->shard_of(i);
  const IndexRecord record = state_->record(i, shard);
  buffer.id = record.id;
  std::atomic<bool>& is_away = state_->is_away[shard];
  const auto read_bytes = [&](std::span<std::byte> out, uint64_t offset, std::string_view what) {
    for (std::size_t attempt = 0;; ++attempt) {
      try {
        state_->file(shard)->pread(out, offset);
        is_away = false;
        break;
      } catch (const WorldError& error) {
        // What cannot be fetched was tried often enough.
        if (attempt == kPauses.size() || is_away || state_->cache) {
          is_away = true;
          throw WorldError((path() / shard_name(shard)).string(),
                           fmt::format("{}: its {} cannot be read, in {} attempt{}: {}", sample_name(i), what,
                                       attempt + 1, attempt == 0 ? "" : "s", error.what()));
        }
        state_->forget(shard);
        std::this_thread::sleep_for(kPauses[attempt]);
      }
    }
  };
  const auto read_checked = [&](std::span<std::byte> out, uint64_t offset, uint64_t checksum, std::string_view what) {
    read_bytes(out, offset, what);
    if (state_->cache && hash64(out) != checksum) {  // it was sound when it was fetched
      state_->cache->discard(shard);
      state_->forget(shard);
      read_bytes(out, offset, what);
    }
    if (hash64(out) != checksum) {
      throw WorldError(
          (path() / shard_name(shard)).string(),
          fmt::format("{}: its {} do not have the checksum that the index states: the file was altered after "
                      "it was indexed. Bring it back, or run `triptych index {}`.",
                      sample_name(i), what, path().string()));
    }
  };

  // No clear() before: what resize() does not add it need not fill with zeros.
  const uint32_t image_bytes = has_part(parts, SampleParts::kImage) ? record.image_bytes : 0;
  const uint32_t num_captions = has_part(parts, SampleParts::kCaptions) ? record.num_captions : 0;
  buffer.image.resize(image_bytes);
  buffer.caption_ends.clear();
  if (num_captions == 0) buffer.caption_bytes.clear();
  if (image_bytes == 0 && num_captions == 0) return;
  if (image_bytes != 0) {
    read_checked(buffer.image, record.image_offset, record.image_checksum, "image bytes");
  }
  if (num_captions != 0) {
    const uint64_t first = state_->first_caption[shard] + record.first_caption;
    uint32_t bytes = 0;  // at most kMaxCaptionsPerSample * kMaxCaptionBytes
    for (uint32_t k = 0; k < num_captions; ++k) {
      const uint32_t length = state_->index.arrays().caption_bytes[first + k];
      if (length > kMaxCaptionBytes) state_->refuse_record(i);
      bytes += length;
      buffer.caption_ends.push_back(bytes);
    }
    buffer.caption_bytes.resize(bytes);
    read_checked(std::as_writable_bytes(std::span(buffer.caption_bytes)), record.captions_offset,
                 record.caption_checksum, "caption bytes");
  }
}

}  // namespace triptych::data
