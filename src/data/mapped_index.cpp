#include "data/mapped_index.h"

#include <algorithm>
#include <array>
#include <bit>

#include <sys/stat.h>

#include "base/error.h"
#include "base/file.h"
#include "data/annotation_rules.h"
#include "data/image_decoder.h"
#include "data/index_json.h"

namespace triptych::data {
namespace {

static_assert(std::endian::native == std::endian::little, "index.bin is used as it lies there");

// Of a pass: so much is looked at before its pages are let go, and progress is told.
constexpr uint64_t kWindowBytes = uint64_t{32} << 20;

[[noreturn]] void refuse_arrays(const std::filesystem::path& dir, std::string_view rule) {
  throw WorldError((dir / kIndexArraysName).string(),
                   fmt::format("{}. It is damaged or belongs to another index. {}.", rule, index_remedy(dir)));
}

std::string identity_of(const File& file, const IndexDescription& index) {
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) return {};  // equal to none
  return fmt::format("{}:{}:{}:{}.{}:{}", status.st_dev, status.st_ino, status.st_size, status.st_mtim.tv_sec,
                     status.st_mtim.tv_nsec, index.checksum);
}

/// The parts of index.bin, which has the size that its header asks for.
IndexArrays arrays_of(std::span<const std::byte> bytes, const ArraysHeader& header) {
  uint64_t at = sizeof(ArraysHeader);
  const auto take = [&]<typename T>(PackedArray<T>& array, uint64_t size) {
    array = {bytes.data() + at, size};
    at += size * sizeof(T);
  };
  IndexArrays arrays;
  take(arrays.records, header.num_samples);
  take(arrays.labels, header.has_labels * header.num_samples);
  take(arrays.caption_bytes, header.num_captions);
  take(arrays.roles, header.has_roles * header.num_captions);
  take(arrays.box_first, header.num_boxes != 0 ? header.num_samples + 1 : 0);
  take(arrays.boxes, header.num_boxes);
  return arrays;
}

/// Makes the two passes over an index.
class IndexCheck {
 public:
  IndexCheck(const std::filesystem::path& dir, const IndexDescription& index, const MappedFile& file,
             const IndexArrays& arrays, const IndexProgress& progress)
      : dir_(dir), index_(index), file_(file), arrays_(arrays), progress_(progress) {}

  IndexFacts run() {
    file_.expect_sequential_reads();
    check_hash();
    check_arrays();
    check_records();
    hash_rest();
    facts_.num_boxes = arrays_.boxes.size();
    facts_.content_hash = content_.digest();
    file_.release(0, file_.bytes().size());
    file_.expect_random_reads();
    return facts_;
  }

 private:
  void let_go(std::span<const std::byte> bytes) const {
    file_.release(static_cast<uint64_t>(bytes.data() - file_.bytes().data()), bytes.size());
  }
  /// Whoever looks through a range calls this for every piece of it, at most a window each.
  void seen(std::span<const std::byte> bytes) {
    let_go(bytes);
    done_ += bytes.size();
    if (progress_) progress_(std::min(done_, 2 * file_.bytes().size()), 2 * file_.bytes().size());
  }

  void hash_into(Hasher& hasher, std::span<const std::byte> bytes) {
    for (uint64_t begin = 0; begin < bytes.size(); begin += kWindowBytes) {
      const auto window = bytes.subspan(begin, std::min<uint64_t>(kWindowBytes, bytes.size() - begin));
      hasher.update(window);
      seen(window);
    }
  }

  void check_hash() {
    Hasher hasher;
    hash_into(hasher, file_.bytes());
    if (hasher.digest() != index_.arrays_hash) refuse_arrays(dir_, "does not have the hash that index.json states");
    if (!(PackedArray<ArraysHeader>(file_.bytes().data(), 1)[0] == index_.header)) {
      refuse_arrays(dir_, "its header contradicts index.json");
    }
  }

  /// What a single record does not show.
  void check_arrays() {
    const bool has_other_role = std::ranges::any_of(
        arrays_.roles, [](TextRole role) { return !text_role_of(static_cast<uint8_t>(role)).has_value(); });
    if (has_other_role) refuse_arrays(dir_, fmt::format("a role must be 0 to {}", kNumTextRoles - 1));
    const PackedArray<uint64_t>& first = arrays_.box_first;
    const bool is_sound = first.empty() || (first[0] == 0 && first.back() == arrays_.boxes.size() &&
                                            std::is_sorted(first.begin(), first.end()));
    if (!is_sound) refuse_arrays(dir_, "where the samples' boxes begin must ascend from 0 to their number");
  }

  /// The roles and boxes of sample i, whose captions begin at `first_caption` of the data set and exist.
  std::span<const TextRole> roles_of(const IndexRecord& r, uint64_t first_caption) const {
    if (arrays_.roles.empty()) return {};
    return {reinterpret_cast<const TextRole*>(arrays_.roles.bytes().data()) + first_caption, r.num_captions};
  }
  PackedArray<BoxRecord> boxes_of(uint64_t i) const {
    if (arrays_.box_first.empty()) return {};
    const uint64_t first = arrays_.box_first[i];
    return arrays_.boxes.part(first, arrays_.box_first[i + 1] - first);
  }

  static bool has_sound_annotations(const IndexRecord& r, std::span<const TextRole> roles,
                                    const PackedArray<BoxRecord>& boxes) {
    if (r.is_turned > (boxes.empty() ? 0 : 1)) return false;
    const uint32_t width = r.is_turned != 0 ? r.height : r.width, height = r.is_turned != 0 ? r.width : r.height;
    return (roles.empty() || fault_of_roles(roles).empty()) &&
           (boxes.empty() || fault_of_boxes(boxes, width, height, roles).empty());
  }

  /// What later reads rely on: every range lies in its array. A forged index with fitting hashes still cannot lead a
  /// read outside its files or allocate without bound.
  void check_records() {
    constexpr uint64_t kWindow = kWindowBytes / sizeof(IndexRecord);
    uint64_t i = 0, caption_base = 0, window = 0, caption_window = 0;
    for (const IndexedShard& shard : index_.shards) {
      const uint64_t image_end = shard.layout.image_bytes.offset + shard.layout.image_bytes.bytes;
      const uint64_t caption_end = shard.layout.caption_bytes.offset + shard.layout.caption_bytes.bytes;
      uint64_t next_caption = 0;
      for (uint64_t k = 0; k < shard.layout.num_samples; ++k, ++i) {
        const IndexRecord r = arrays_.records[i];
        bool sound = r.image_bytes <= kMaxImageBytes && r.image_offset <= image_end &&
                     r.image_bytes <= image_end - r.image_offset && r.num_captions <= kMaxCaptionsPerSample &&
                     r.first_caption == next_caption && r.num_captions <= shard.layout.num_captions - next_caption &&
                     (r.image_bytes == 0) == (r.image_format == 0) && r.image_format <= 3 &&
                     uint64_t{r.width} * r.height <= kMaxImagePixels;
        uint64_t bytes = 0;
        for (uint64_t c = 0; sound && c < r.num_captions; ++c) {
          const uint32_t length = arrays_.caption_bytes[caption_base + next_caption + c];
          sound = length <= kMaxCaptionBytes;
          bytes += length;
        }
        std::span<const TextRole> roles;
        PackedArray<BoxRecord> boxes;
        if (sound) {
          roles = roles_of(r, caption_base + next_caption);
          boxes = boxes_of(i);
          sound = has_sound_annotations(r, roles, boxes);
        }
        if (!sound || r.captions_offset > caption_end || bytes > caption_end - r.captions_offset) {
          throw WorldError((dir_ / kIndexArraysName).string(),
                           fmt::format("the record of sample {} points outside {}. It is damaged. {}.", i, shard.file,
                                       index_remedy(dir_)));
        }
        count(i, r, roles, boxes);
        next_caption += r.num_captions;
        if (i - window + 1 == kWindow) {
          seen(arrays_.records.part(window, kWindow).bytes());
          if (!arrays_.labels.empty()) let_go(arrays_.labels.part(window, kWindow).bytes());
          const uint64_t end = caption_base + next_caption;
          let_go(arrays_.caption_bytes.part(caption_window, end - caption_window).bytes());
          window = i + 1;
          caption_window = end;
        }
      }
      caption_base += shard.layout.num_captions;
    }
    seen(arrays_.records.part(window, i - window).bytes());
    flush();
  }

  void count(uint64_t i, const IndexRecord& r, std::span<const TextRole> roles, const PackedArray<BoxRecord>& boxes) {
    const int64_t label = arrays_.labels.empty() ? kNoLabel : arrays_.labels[i];
    std::array<uint64_t, kNumTextRoles> texts{};
    if (roles.empty()) {
      texts[static_cast<std::size_t>(TextRole::kCaption)] = r.num_captions;
    } else {
      for (const TextRole role : roles) ++texts[static_cast<std::size_t>(role)];
    }
    const auto has = [&](TextRole role) { return texts[static_cast<std::size_t>(role)] != 0; };
    ++facts_.samples_having[number_of({.images = r.image_bytes != 0,
                                       .captions = has(TextRole::kCaption),
                                       .questions = has(TextRole::kQuestion),
                                       .answers = has(TextRole::kAnswer),
                                       .phrases = has(TextRole::kPhrase),
                                       .boxes = !boxes.empty(),
                                       .labels = label != kNoLabel})];
    for (std::size_t t = 0; t < kNumTextRoles; ++t) facts_.num_texts[t] += texts[t];
    facts_.most_boxes = std::max<uint64_t>(facts_.most_boxes, boxes.size());
    facts_.greatest_label = std::max(facts_.greatest_label, label);
    words_[num_words_++] = {r.id,          r.image_checksum, r.caption_checksum,
                            r.image_bytes, r.num_captions,   static_cast<uint64_t>(label)};
    if (num_words_ == words_.size()) flush();
  }
  void flush() {
    content_.update(std::as_bytes(std::span(words_).first(num_words_)));
    num_words_ = 0;
  }

  /// Where one caption ends and the next begins; roles and boxes, nothing where there are none.
  void hash_rest() {
    for (const auto bytes :
         {arrays_.caption_bytes.bytes(), arrays_.roles.bytes(), arrays_.box_first.bytes(), arrays_.boxes.bytes()}) {
      hash_into(content_, bytes);
    }
  }

  const std::filesystem::path& dir_;
  const IndexDescription& index_;
  const MappedFile& file_;
  const IndexArrays& arrays_;
  const IndexProgress& progress_;
  uint64_t done_ = 0;
  IndexFacts facts_;
  Hasher content_;
  std::array<std::array<uint64_t, 6>, 1024> words_{};  // of the content hash, that wait for it
  std::size_t num_words_ = 0;
};

}  // namespace

std::string CheckedIndex::to_text() const {
  return identity + "\t" + facts.to_text();
}

CheckedIndex CheckedIndex::from_text(const std::string& text) {
  const std::size_t tab = text.find('\t');
  TRIPTYCH_CHECK(tab != std::string::npos, "a checked index, found \"{}\"", text.substr(0, 100));
  return {.identity = text.substr(0, tab), .facts = IndexFacts::from_text(text.substr(tab + 1))};
}

MappedIndex MappedIndex::open(const std::filesystem::path& dir, const CheckedIndex* checked,
                              const IndexProgress& progress) {
  IndexDescription description = read_index_description(dir);
  const std::filesystem::path path = dir / kIndexArraysName;
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(path, ignored)) refuse_arrays(dir, "is missing");
  const File file = File::open_read(path);
  const uint64_t expected = description.header.num_bytes();
  if (file.size() != expected || description.arrays_bytes != expected) {
    refuse_arrays(dir, fmt::format("must have {} bytes, found {}", expected, file.size()));
  }
  MappedIndex index;
  index.file_ = MappedFile(file);
  // It may have been cut since.
  if (index.file_.bytes().size() != expected) refuse_arrays(dir, fmt::format("must have {} bytes", expected));
  index.arrays_ = arrays_of(index.file_.bytes(), description.header);
  const std::string identity = identity_of(file, description);
  index.trusts_another_ = checked != nullptr && !identity.empty() && checked->identity == identity;
  if (index.trusts_another_) {
    index.checked_ = *checked;
    index.file_.expect_random_reads();
  } else {
    index.checked_ = {.identity = identity,
                      .facts = IndexCheck(dir, description, index.file_, index.arrays_, progress).run()};
  }
  index.data_set_id_ = std::move(description.data_set_id);
  index.shards_ = std::move(description.shards);
  return index;
}

}  // namespace triptych::data
