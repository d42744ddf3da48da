#include "data/shard_cache.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/range_lock.h"
#include "data/class_names.h"
#include "data/index_json.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kCacheFormat = "triptych-cache";
constexpr const char* kOriginName = "origin.json";
constexpr const char* kLockName = "lock";
constexpr uint64_t kIndexLock = uint64_t{1} << 40;  // a number beyond all shards
constexpr uint64_t kMaxIndexBytes = kMaxShards * 2000;
constexpr uint64_t kMaxTokenizerBytes = uint64_t{256} << 20;
constexpr uint64_t kMaxOriginBytes = 8192;
constexpr int kFetchersAhead = 2;
constexpr std::chrono::milliseconds kLockPause{20};
constexpr std::chrono::seconds kRoomPatience{600};

std::string folder_name(const std::string& url) {
  return fmt::format("triptych-{}", hash128(std::as_bytes(std::span(url))).hex());
}

bool is_hash(std::string_view text) {
  return text.size() == 32 &&
         std::ranges::all_of(text, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

/// Whether a folder is the cache of the address that it says itself, by the name that follows from it.
bool is_cache_folder(const fs::path& folder) {
  std::error_code error;
  if (fs::symlink_status(folder, error).type() != fs::file_type::directory) return false;
  if (!fs::is_regular_file(folder / kOriginName, error)) return false;
  try {
    const auto json = nlohmann::json::parse(read_text_file(folder / kOriginName, kMaxOriginBytes));
    return json.at("format").get<std::string>() == kCacheFormat &&
           folder_name(json.at("url").get<std::string>()) == folder.filename().string();
  } catch (const nlohmann::json::exception&) {
    return false;
  } catch (const Error&) {
    return false;
  }
}

/// A file of a cache that holds a shard or a part of one.
struct CachedFile {
  fs::path path;
  uint64_t bytes = 0;  // of a part: in the end
  std::optional<uint32_t> part_of_shard;
  timespec opened{};
};

template <typename T>
std::optional<T> number_in(std::string_view text) {
  T value{};
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

/// What `path` is by its name, if that is one of those that this file gives.
std::optional<CachedFile> cached_file(const fs::path& path) {
  const std::string name = path.filename().string();
  const std::size_t line = name.find('_'), point = name.find('.');
  if (line == std::string::npos || point == std::string::npos || point < line) return std::nullopt;
  const auto shard = number_in<uint32_t>(std::string_view(name).substr(0, line));
  if (!shard || !is_hash(std::string_view(name).substr(line + 1, point - line - 1))) return std::nullopt;
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  CachedFile file{.path = path, .bytes = static_cast<uint64_t>(status.st_size), .opened = status.st_mtim};
  std::string_view rest = std::string_view(name).substr(point + 1);
  if (rest == "shard") return file;
  if (!rest.ends_with(".part")) return std::nullopt;
  rest.remove_suffix(5);
  const auto bytes = number_in<uint64_t>(rest);
  if (!bytes) return std::nullopt;
  file.bytes = *bytes;
  file.part_of_shard = *shard;
  return file;
}

std::vector<CachedFile> cached_files(const fs::path& dir) {
  std::vector<CachedFile> files;
  for (const fs::path& folder : list_folder(dir)) {
    const std::string name = folder.filename().string();
    if (!name.starts_with("triptych-") || !is_cache_folder(folder)) continue;
    for (const fs::path& path : list_folder(folder)) {
      if (std::optional<CachedFile> file = cached_file(path)) files.push_back(std::move(*file));
    }
  }
  std::ranges::sort(files, [](const CachedFile& a, const CachedFile& b) {
    return std::pair(a.opened.tv_sec, a.opened.tv_nsec) < std::pair(b.opened.tv_sec, b.opened.tv_nsec);
  });
  return files;
}

/// Waits for a lock; not held if `is_unwanted`.
RangeLock wait_for(const fs::path& file, uint64_t number, const std::atomic<bool>& is_unwanted) {
  for (;;) {
    RangeLock lock = RangeLock::attempt(file, number);
    if (lock.is_held() || is_unwanted) return lock;
    std::this_thread::sleep_for(kLockPause);
  }
}

void rename_file(const fs::path& from, const fs::path& to) {
  std::error_code error;
  fs::rename(from, to, error);
  if (error) throw WorldError(to.string(), fmt::format("cannot be named so ({})", error.message()));
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw WorldError(folder.string(), fmt::format("cannot be made ({})", error.message()));
}

}  // namespace

ShardCache::ShardCache(const std::string& url, CacheOptions options)
    : url_(url), options_(std::move(options)), folder_(options_.dir / folder_name(url_.text())) {
  make_folder(options_.dir);
  // Two processes may begin at once.
  const RangeLock lock = wait_for(options_.dir / kLockName, 0, stopping_);
  if (!fs::exists(folder_)) {
    make_folder(folder_);
    const nlohmann::json origin{{"format", kCacheFormat}, {"url", url_.text()}};
    write_file_atomically(folder_ / kOriginName, origin.dump(1) + "\n");
  }
  if (!is_cache_folder(folder_)) {
    throw UserError(folder_.string(),
                    fmt::format("is no cache of {}: it has no {} that says so. Move it away, or name another "
                                "data.cache.dir",
                                url_.text(), kOriginName));
  }
}

ShardCache::~ShardCache() {
  stopping_ = true;
  for (std::jthread& thread : threads_) thread.request_stop();
}

void ShardCache::refresh() {
  const RangeLock lock = wait_for(folder_ / kLockName, kIndexLock, stopping_);
  const auto get = [&](std::string_view name, uint64_t max_bytes) {
    return fetch_text(url_.request(name), max_bytes, options_.patience);
  };
  const std::optional<std::string> index = get(kIndexName, kMaxIndexBytes);
  if (!index) {
    throw UserError(url_.text(), fmt::format("is no indexed data set, or may not be read: there is no {}. Make one "
                                             "with `triptych ingest`, and copy its whole folder to the server",
                                             kIndexName));
  }
  std::error_code ignored;
  const fs::path path = folder_ / kIndexName;
  if (!fs::exists(path, ignored) || read_text_file(path, kMaxIndexBytes) != *index) {
    fs::remove(folder_ / kIndexArraysName, ignored);
    fs::remove(folder_ / "index.bin.part", ignored);
    write_file_atomically(path, *index);
  }
  const auto copy = [&](std::string_view name, uint64_t max_bytes) {
    const std::optional<std::string> text = get(name, max_bytes);
    if (text) {
      write_file_atomically(folder_ / name, *text);
    } else {
      fs::remove(folder_ / name, ignored);
    }
  };
  copy(kClassNamesFile, kMaxClassNamesBytes);
  copy("tokenizer.model", kMaxTokenizerBytes);
  const uint64_t expected = read_index_description(folder_).arrays_bytes;
  const fs::path arrays = folder_ / kIndexArraysName;
  if (!fs::exists(arrays, ignored) || fs::file_size(arrays, ignored) != expected) fetch_arrays();
}

void ShardCache::refetch_arrays() {
  const RangeLock lock = wait_for(folder_ / kLockName, kIndexLock, stopping_);
  fetch_arrays();
}

void ShardCache::fetch_arrays() {
  const fs::path part = folder_ / "index.bin.part";
  download(url_.request(kIndexArraysName), part, read_index_description(folder_).arrays_bytes, options_.patience);
  rename_file(part, folder_ / kIndexArraysName);
}

void ShardCache::set_shards(std::span<const IndexedShard> shards, CheckShard check) {
  shards_ = shards;
  check_ = std::move(check);
}

fs::path ShardCache::file_of(uint32_t shard) const {
  return folder_ / fmt::format("{:06}_{}.shard", shard, shards_[shard].metadata_hash.hex());
}

fs::path ShardCache::part_of(uint32_t shard) const {
  return folder_ / fmt::format("{:06}_{}.{}.part", shard, shards_[shard].metadata_hash.hex(), shards_[shard].bytes);
}

bool ShardCache::is_here(uint32_t shard) const {
  struct stat status {};
  return ::lstat(file_of(shard).c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
         static_cast<uint64_t>(status.st_size) == shards_[shard].bytes;
}

File ShardCache::open(uint32_t shard) {
  for (int attempt = 0;; ++attempt) {
    if (!is_here(shard)) fetch(shard);
    const fs::path path = file_of(shard);
    try {
      File file = File::open_read(path);
      ::futimens(file.descriptor(), nullptr);  // whoever must give way is the one that was longest not opened
      return file;
    } catch (const WorldError&) {
      // It gave way to another between the two.
      if (attempt == 10 || is_here(shard)) throw;
    }
  }
}

void ShardCache::discard(uint32_t shard) {
  std::error_code ignored;
  fs::remove(file_of(shard), ignored);
}

void ShardCache::fetch(uint32_t shard) {
  const RangeLock lock = wait_for(folder_ / kLockName, shard, stopping_);
  if (!lock.is_held() || is_here(shard)) return;  // another has fetched it meanwhile
  const RemoteRequest request = url_.request(shards_[shard].file);
  const fs::path part = part_of(shard);
  for (;;) {
    make_room(shard);
    std::error_code ignored;
    const bool is_resumed = fs::exists(part, ignored) && fs::file_size(part, ignored) > 0;
    download(request, part, shards_[shard].bytes, options_.patience, [this] { return stopping_.load(); });
    try {
      check_(File::open_read(part), shard);
      break;
    } catch (const WorldError& error) {
      fs::remove(part, ignored);
      if (is_resumed) continue;  // what was there from before may be of another file
      throw WorldError(request.name,
                       fmt::format("is not the file that was indexed: {}. Bring the right one to the server, or index "
                                   "the data set again",
                                   error.what()));
    }
  }
  rename_file(part, file_of(shard));
}

void ShardCache::make_room(uint32_t shard) {
  const fs::path own = part_of(shard);
  const uint64_t bytes = shards_[shard].bytes;
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const RangeLock lock = wait_for(options_.dir / kLockName, 0, stopping_);
    if (!lock.is_held()) throw WorldError(own.string(), "is not wanted any more");
    std::vector<CachedFile> files = cached_files(options_.dir);
    uint64_t total = bytes;
    for (const CachedFile& file : files) total += file.path == own ? 0 : file.bytes;
    for (const CachedFile& file : files) {
      if (total <= options_.max_bytes) break;
      if (file.path == own) continue;
      RangeLock of_part;
      if (file.part_of_shard) {
        of_part = RangeLock::attempt(file.path.parent_path() / kLockName, *file.part_of_shard);
        if (!of_part.is_held()) continue;  // it is on its way
      }
      std::error_code error;
      if (fs::remove(file.path, error) || !error) total -= file.bytes;
    }
    if (total <= options_.max_bytes) {
      // So that others count it.
      const int descriptor = ::open(own.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
      if (descriptor < 0) throw WorldError(own.string(), fmt::format("cannot be made ({})", describe_errno(errno)));
      ::close(descriptor);
      return;
    }
    if (bytes > options_.max_bytes || std::chrono::steady_clock::now() - start > kRoomPatience) {
      throw WorldError(options_.dir.string(),
                       fmt::format("has no room for {} of {} bytes: data.cache.max_gb allows {} bytes. Raise it",
                                   shards_[shard].file, bytes, options_.max_bytes));
    }
    // Others fetch at the same time; they will be done.
    std::this_thread::sleep_for(kLockPause);
  }
}

void ShardCache::expect(std::vector<uint32_t> shards) {
  std::ranges::reverse(shards);
  const std::lock_guard lock(mutex_);
  expected_ = std::move(shards);
  changed_.notify_all();
  while (threads_.size() < kFetchersAhead) {
    threads_.emplace_back([this](const std::stop_token& stop) { fetch_ahead(stop); });
  }
}

void ShardCache::fetch_ahead(const std::stop_token& stop) {
  for (;;) {
    uint32_t shard = 0;
    {
      std::unique_lock lock(mutex_);
      if (!changed_.wait(lock, stop, [&] { return !expected_.empty(); })) return;
      shard = expected_.back();
      expected_.pop_back();
    }
    try {
      if (!is_here(shard)) fetch(shard);
    } catch (const Error&) {
      // Whoever reads it meets the same, and tells it.
    }
  }
}

}  // namespace triptych::data
