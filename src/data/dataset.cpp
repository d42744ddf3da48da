#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <mutex>
#include <thread>
#include <unordered_set>

#include "base/checked.h"
#include "base/file.h"
#include "base/hash.h"
#include "data/index_file.h"
#include "data/shard_files.h"
#include "data/shard_scan.h"

namespace triptych::data {
namespace {

// Far below the usual limit of 1024 descriptors, enough that neighbouring reads find their file open.
constexpr std::size_t kMaxOpenShards = 128;

// Network file systems and busy disks fail for a moment; a disk that stays away is told soon all the same.
constexpr std::array<std::chrono::milliseconds, 3> kPauses{std::chrono::milliseconds(20), std::chrono::milliseconds(80),
                                                           std::chrono::milliseconds(300)};

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

}  // namespace

std::string_view SampleBuffer::caption(std::size_t k) const {
  TRIPTYCH_CHECK(k < caption_ends.size(), "caption {} of {}", k, caption_ends.size());
  const uint32_t begin = k == 0 ? 0 : caption_ends[k - 1];
  return std::string_view(caption_bytes).substr(begin, caption_ends[k] - begin);
}

uint32_t SampleRecord::num_texts(TextRole asked) const {
  if (roles.empty()) return asked == TextRole::kCaption ? num_captions : 0;
  return static_cast<uint32_t>(std::ranges::count(roles, asked));
}

uint32_t SampleRecord::nth_text(TextRole asked, uint32_t n) const {
  for (uint32_t k = 0, left = n; k < num_captions; ++k) {
    if (role(k) == asked && left-- == 0) return k;
  }
  throw InternalError("data set", fmt::format("text {} of role {} of a sample that has {}", n, text_role_name(asked),
                                              num_texts(asked)));
}

struct Dataset::State {
  std::filesystem::path dir;
  DatasetIndex index;
  uint64_t num_images = 0;
  std::array<uint64_t, kNumTextRoles> num_texts{};
  std::vector<uint64_t> first_sample;   // of each shard, and the total
  std::vector<uint64_t> first_caption;  // of each shard

  // The files opened last. A reader keeps its file alive while it reads, whatever is closed meanwhile.
  std::mutex mutex;
  std::vector<std::shared_ptr<const File>> files;
  std::deque<uint32_t> open_order;

  // Of each shard: whether the last read of it failed, however often it was tried. The next one is tried once, so that
  // a file that is gone does not take the pauses of every sample.
  std::vector<std::atomic<bool>> is_away;

  std::shared_ptr<const File> file(uint32_t shard) {
    const std::lock_guard lock(mutex);
    std::shared_ptr<const File>& slot = files[shard];
    if (slot == nullptr) {
      if (open_order.size() == kMaxOpenShards) {
        files[open_order.front()].reset();
        open_order.pop_front();
      }
      slot = std::make_shared<const File>(File::open_read(dir / index.shards[shard].file));
      open_order.push_back(shard);
    }
    return slot;
  }

  /// Lets the next reader open a shard anew, for what a reader that failed had open.
  void forget(uint32_t shard) {
    const std::lock_guard lock(mutex);
    files[shard].reset();
    std::erase(open_order, shard);
  }

  uint32_t shard_of(uint64_t i) const {
    TRIPTYCH_CHECK(i < index.records.size(), "sample {} of {}", i, index.records.size());
    return static_cast<uint32_t>(std::upper_bound(first_sample.begin(), first_sample.end(), i) - first_sample.begin() -
                                 1);
  }
};

Dataset::Dataset(std::unique_ptr<State> state) : state_(std::move(state)) {}
Dataset::Dataset(Dataset&&) noexcept = default;
Dataset& Dataset::operator=(Dataset&&) noexcept = default;
Dataset::~Dataset() = default;

Dataset Dataset::open(const std::filesystem::path& dir) {
  const std::vector<std::string> names = list_shard_files(dir);
  auto state = std::make_unique<State>();
  state->dir = dir;
  state->index = read_index(dir);
  const DatasetIndex& index = state->index;
  std::unordered_set<std::string_view> known;
  for (const IndexedShard& shard : index.shards) known.insert(shard.file);
  for (const std::string& name : names) {
    if (!known.contains(name)) {
      throw UserError(dir.string(),
                      fmt::format("holds {}, which its index does not know. Run `triptych index {}` or move "
                                  "the file away.",
                                  name, dir.string()));
    }
  }
  uint64_t samples = 0, captions = 0;
  for (const IndexedShard& shard : index.shards) {
    check_shard(dir, shard);
    state->first_sample.push_back(samples);
    state->first_caption.push_back(captions);
    samples += shard.layout.num_samples;
    captions += shard.layout.num_captions;
  }
  if (samples == 0) throw UserError(dir.string(), "is an empty data set: its shards hold no sample.");
  state->first_sample.push_back(samples);
  state->files.resize(index.shards.size());
  state->is_away = std::vector<std::atomic<bool>>(index.shards.size());
  for (const IndexRecord& record : index.records) state->num_images += record.image_bytes != 0;
  for (const TextRole role : index.roles) ++state->num_texts[static_cast<std::size_t>(role)];
  if (index.roles.empty()) state->num_texts[static_cast<std::size_t>(TextRole::kCaption)] = captions;
  return Dataset(std::move(state));
}

const std::filesystem::path& Dataset::path() const {
  return state_->dir;
}
const std::string& Dataset::data_set_id() const {
  return state_->index.data_set_id;
}
Hash128 Dataset::content_hash() const {
  Hasher hasher;
  for (std::size_t i = 0; i < state_->index.records.size(); ++i) {
    const IndexRecord& record = state_->index.records[i];
    const auto label = static_cast<uint64_t>(has_labels() ? state_->index.labels[i] : kNoLabel);
    const std::array<uint64_t, 6> words{record.id,          record.image_checksum, record.caption_checksum,
                                        record.image_bytes, record.num_captions,   label};
    hasher.update(std::as_bytes(std::span(words)));
  }
  // Where one caption ends and the next begins.
  hasher.update(std::as_bytes(std::span(state_->index.caption_bytes)));
  // Nothing where there are none.
  hasher.update(std::as_bytes(std::span(state_->index.roles)));
  hasher.update(std::as_bytes(std::span(state_->index.box_first)));
  hasher.update(std::as_bytes(std::span(state_->index.boxes)));
  return hasher.digest();
}
uint64_t Dataset::size() const {
  return state_->index.records.size();
}
uint64_t Dataset::num_captions() const {
  return state_->index.caption_bytes.size();
}
uint64_t Dataset::num_texts(TextRole role) const {
  return state_->num_texts[static_cast<std::size_t>(role)];
}
uint64_t Dataset::num_boxes() const {
  return state_->index.boxes.size();
}
uint64_t Dataset::num_images() const {
  return state_->num_images;
}
bool Dataset::has_labels() const {
  return !state_->index.labels.empty();
}
uint32_t Dataset::num_shards() const {
  return narrow<uint32_t>(state_->index.shards.size());
}
std::string_view Dataset::shard_name(uint32_t shard) const {
  return state_->index.shards.at(shard).file;
}
uint64_t Dataset::first_sample(uint32_t shard) const {
  TRIPTYCH_CHECK(shard < num_shards(), "shard {} of {}", shard, num_shards());
  return state_->first_sample[shard];
}
uint64_t Dataset::id(uint64_t i) const {
  TRIPTYCH_CHECK(i < size(), "sample {} of {}", i, size());
  return state_->index.records[i].id;
}

std::string Dataset::sample_name(uint64_t i) const {
  const uint32_t shard = state_->shard_of(i);
  return fmt::format("{} sample {} (id {})", shard_name(shard), i - first_sample(shard), id(i));
}

SampleRecord Dataset::record(uint64_t i) const {
  const uint32_t shard = state_->shard_of(i);
  const IndexRecord& from = state_->index.records[i];
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
  const DatasetIndex& index = state_->index;
  if (!index.roles.empty()) {
    record.roles = std::span(index.roles).subspan(state_->first_caption[shard] + from.first_caption, from.num_captions);
  }
  if (!index.box_first.empty()) {
    record.boxes = std::span(index.boxes).subspan(index.box_first[i], index.box_first[i + 1] - index.box_first[i]);
  }
  if (has_labels() && state_->index.labels[i] != kNoLabel) record.label = state_->index.labels[i];
  return record;
}

void Dataset::read(uint64_t i, SampleBuffer& buffer, SampleParts parts) const {
  const uint32_t shard = state_->shard_of(i);
  const IndexRecord& record = state_->index.records[i];
  buffer.id = record.id;
  std::atomic<bool>& is_away = state_->is_away[shard];
  const auto read_checked = [&](std::span<std::byte> out, uint64_t offset, uint64_t checksum, std::string_view what) {
    for (std::size_t attempt = 0;; ++attempt) {
      try {
        state_->file(shard)->pread(out, offset);
        is_away = false;
        break;
      } catch (const WorldError& error) {
        if (attempt == kPauses.size() || is_away) {
          is_away = true;
          throw WorldError((path() / shard_name(shard)).string(),
                           fmt::format("{}: its {} cannot be read, in {} attempt{}: {}", sample_name(i), what,
                                       attempt + 1, attempt == 0 ? "" : "s", error.what()));
        }
        state_->forget(shard);
        std::this_thread::sleep_for(kPauses[attempt]);
      }
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
      bytes += state_->index.caption_bytes[first + k];
      buffer.caption_ends.push_back(bytes);
    }
    buffer.caption_bytes.resize(bytes);
    read_checked(std::as_writable_bytes(std::span(buffer.caption_bytes)), record.captions_offset,
                 record.caption_checksum, "caption bytes");
  }
}

}  // namespace triptych::data
