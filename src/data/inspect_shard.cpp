#include "data/inspect_shard.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <functional>
#include <span>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/image_decoder.h"
#include "data/index_file.h"
#include "data/parallel_for.h"
#include "data/part_counts.h"
#include "data/problems.h"
#include "data/shard_scan.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kExamples = 5;
constexpr std::size_t kExampleBytes = 120;  // of a sample's captions; about a terminal's line

/// Least, greatest and sum of what was added.
struct Range {
  uint64_t least = ~uint64_t{0}, greatest = 0, sum = 0;
  void add(uint64_t value) {
    least = std::min(least, value);
    greatest = std::max(greatest, value);
    sum += value;
  }
};

/// Without control characters, which could command a terminal, and cut between two characters of UTF-8.
std::string printable(std::string text) {
  if (text.size() > kExampleBytes) {
    std::size_t end = kExampleBytes;
    while (end > 0 && (static_cast<uint8_t>(text[end]) & 0xC0) == 0x80) --end;
    text = text.substr(0, end) + "...";
  }
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x20 || byte == 0x7F) text[i] = '?';
    // U+0080 to U+009F are control characters as well.
    if (byte == 0xC2 && i + 1 < text.size() && static_cast<uint8_t>(text[i + 1]) < 0xA0) text[i] = text[i + 1] = '?';
  }
  return text;
}

std::string image_text(const IndexRecord& record) {
  if (record.image_bytes == 0) return "no image";
  if (record.image_format == 0) return fmt::format("{}, unreadable", human_bytes(record.image_bytes));
  return fmt::format("{} {}x{}, {}", image_format_name(static_cast<ImageFormat>(record.image_format - 1)), record.width,
                     record.height, human_bytes(record.image_bytes));
}

/// What an index says of sample i, whose texts begin at `first_text` of the data set, as far as it is counted here.
SampleRecord record_of(const DatasetIndex& index, std::size_t i, uint64_t first_text) {
  const IndexRecord& from = index.records[i];
  SampleRecord record;
  record.image_bytes = from.image_bytes;
  record.num_captions = from.num_captions;
  if (!index.labels.empty() && index.labels[i] != kNoLabel) record.label = index.labels[i];
  if (!index.roles.empty()) record.roles = std::span(index.roles).subspan(first_text, from.num_captions);
  if (!index.box_first.empty()) {
    record.boxes = std::span(index.boxes).subspan(index.box_first[i], index.box_first[i + 1] - index.box_first[i]);
  }
  return record;
}

/// How many texts have which role, and what the boxes are; empty where there is neither.
std::string annotations_text(const DatasetIndex& index) {
  std::string text;
  if (!index.roles.empty()) {
    text += "  roles      ";
    for (std::size_t r = 0; r < kNumTextRoles; ++r) {
      const auto role = static_cast<TextRole>(r);
      text += fmt::format("{} {} {}", r == 0 ? "" : ",", std::ranges::count(index.roles, role), text_role_name(role));
    }
    text += '\n';
  }
  if (index.boxes.empty()) return text;
  Range each, classes;
  uint64_t with_boxes = 0, with_phrase = 0;
  for (std::size_t i = 0; i + 1 < index.box_first.size(); ++i) {
    const uint64_t count = index.box_first[i + 1] - index.box_first[i];
    if (count == 0) continue;
    ++with_boxes;
    each.add(count);
  }
  uint64_t with_class = 0;
  for (const BoxRecord& box : index.boxes) {
    with_phrase += box.phrase >= 0;
    if (box.class_number < 0) continue;
    ++with_class;
    classes.add(static_cast<uint64_t>(box.class_number));
  }
  text += fmt::format("  boxes       {} of {} samples, {} to {} each", each.sum, with_boxes, each.least, each.greatest);
  if (with_class != 0) text += fmt::format("; {} with a class, {} to {}", with_class, classes.least, classes.greatest);
  return text + fmt::format("; {} with a phrase\n", with_phrase);
}

std::string counts_text(const DatasetIndex& index) {
  std::array<uint64_t, 4> formats{};
  PartCounts parts;
  Range widths, heights, image_bytes, captions_each, caption_bytes;
  uint64_t first_text = 0;
  for (std::size_t i = 0; i < index.records.size(); ++i) {
    const IndexRecord& record = index.records[i];
    parts.add(parts_of(record_of(index, i, first_text)));
    first_text += record.num_captions;
    if (record.image_bytes != 0) {
      ++formats[record.image_format];
      widths.add(record.width);
      heights.add(record.height);
      image_bytes.add(record.image_bytes);
    }
    if (record.num_captions != 0) captions_each.add(record.num_captions);
  }
  for (const uint32_t bytes : index.caption_bytes) caption_bytes.add(bytes);

  std::string text = fmt::format("  samples     {} ({} with an image, {} with captions)\n", parts.samples, parts.images,
                                 parts.captions);
  PartChoice asked = parts.some();
  asked.images = true;
  asked.captions |= index.roles.empty();
  if (const std::string lacking = parts.lacking(asked); !lacking.empty()) {
    text += fmt::format("  missing     {}; {} have an image and a caption\n", lacking, parts.pairs);
  }
  if (parts.images != 0) {
    text += fmt::format("  images      {} in all, {} to {} each, {}x{} to {}x{} pixels\n",
                        human_bytes(static_cast<double>(image_bytes.sum)),
                        human_bytes(static_cast<double>(image_bytes.least)),
                        human_bytes(static_cast<double>(image_bytes.greatest)), widths.least, heights.least,
                        widths.greatest, heights.greatest);
    text += "  formats    ";
    for (std::size_t f = 1; f < formats.size(); ++f) {
      if (formats[f] != 0)
        text += fmt::format(" {} {}", image_format_name(static_cast<ImageFormat>(f - 1)), formats[f]);
    }
    if (formats[0] != 0) text += fmt::format(" unreadable {}", formats[0]);
    text += '\n';
  }
  if (!index.caption_bytes.empty()) {
    text += fmt::format("  {}    {}, {} in all, {} to {} a sample, {} to {} bytes each\n",
                        index.roles.empty() ? "captions" : "texts   ", index.caption_bytes.size(),
                        human_bytes(static_cast<double>(caption_bytes.sum)), captions_each.least,
                        captions_each.greatest, caption_bytes.least, caption_bytes.greatest);
  }
  text += annotations_text(index);
  if (!index.labels.empty()) {
    Range labels;
    uint64_t labelled = 0;
    for (const int64_t label : index.labels) {
      if (label < 0) continue;
      ++labelled;
      labels.add(static_cast<uint64_t>(label));
    }
    text += fmt::format("  labels      {}", labelled);
    if (labelled != 0) text += fmt::format(", {} to {}", labels.least, labels.greatest);
    text += '\n';
  }
  return text;
}

std::string examples_text(const fs::path& dir, const DatasetIndex& index) {
  std::string text = "  examples\n";
  uint64_t i = 0, caption_base = 0;
  for (const IndexedShard& shard : index.shards) {
    const File file = File::open_read(dir / shard.file);
    for (uint64_t k = 0; k < shard.layout.num_samples && i < kExamples; ++k, ++i) {
      const IndexRecord& record = index.records[i];
      text += fmt::format("    id {}  {}", record.id, image_text(record));
      uint64_t at = record.captions_offset;
      std::string captions;
      for (uint32_t c = 0; c < record.num_captions && captions.size() <= kExampleBytes; ++c) {
        std::string caption(index.caption_bytes[caption_base + record.first_caption + c], '\0');
        file.pread(std::as_writable_bytes(std::span(caption)), at);
        at += caption.size();
        captions += (c == 0 ? "" : " | ") + (is_utf8(caption) ? caption : "(not UTF-8)");
      }
      text += (captions.empty() ? "  no caption" : "  " + printable(captions)) + '\n';
    }
    if (i == kExamples) break;
    caption_base += shard.layout.num_captions;
  }
  return text;
}

/// Decodes the images of `count` samples; `read` gives a sample's name and its image, empty if it has none, and may
/// throw WorldError. Names the samples whose image is not whole and sound.
std::string decode_all(const fs::path& path, uint64_t count, const InspectOptions& options,
                       const std::function<std::string(uint64_t, std::vector<std::byte>&)>& read) {
  constexpr uint64_t kTogether = 256;  // samples between two reports of progress
  std::vector<std::string> faults(kTogether);
  Problems problems;
  std::atomic<uint64_t> num_images = 0;
  for (uint64_t first = 0; first < count; first += kTogether) {
    const uint64_t part = std::min(kTogether, count - first);
    parallel_for(options.threads, part, [&](uint64_t k) {
      faults[k].clear();
      std::vector<std::byte> image;
      std::string name;
      try {
        name = read(first + k, image);
        if (image.empty()) return;
        ++num_images;
        decode_image(image);
      } catch (const WorldError& error) {
        faults[k] = fmt::format("{}{}{}", name, name.empty() ? "" : ": ", error.what());
      }
    });
    for (uint64_t k = 0; k < part; ++k) {
      if (!faults[k].empty()) problems.add(faults[k]);
    }
    if (options.progress) options.progress(first + part);
  }
  if (!problems.empty()) throw WorldError(path.string(), fmt::format("has {}", problems.text()));
  return fmt::format("  decoded     all {} images are whole\n", num_images.load());
}

/// Compares what a shard holds now with what its index recorded.
std::string compare_with_index(const fs::path& path, const DatasetIndex& now) {
  const fs::path dir = path.has_parent_path() ? path.parent_path() : fs::path(".");
  std::error_code ignored;
  if (!fs::exists(dir / kIndexName, ignored)) {
    return "  verified    against the rules of the format; no index.json lies beside it to compare checksums with\n";
  }
  const DatasetIndex index = read_index(dir);
  std::size_t first = 0;
  for (const IndexedShard& shard : index.shards) {
    if (shard.file != now.shards[0].file) {
      first += shard.layout.num_samples;
      continue;
    }
    Problems problems;
    if (index.data_set_id != now.data_set_id) problems.add("it belongs to another data set");
    if (shard.bytes != now.shards[0].bytes || shard.metadata_hash != now.shards[0].metadata_hash) {
      problems.add("its metadata is not what was indexed");
    }
    const std::size_t count = std::min<std::size_t>(now.records.size(), shard.layout.num_samples);
    for (std::size_t k = 0; k < count; ++k) {
      if (std::memcmp(&index.records[first + k], &now.records[k], sizeof(IndexRecord)) != 0) {
        problems.add(fmt::format("sample {} (id {}) is not what was indexed", k, index.records[first + k].id));
      }
    }
    if (!problems.empty()) {
      throw WorldError(path.string(),
                       fmt::format("differs from its index in {}\nBring the file back, or run `triptych index "
                                   "{}` if the change was meant.",
                                   problems.text(), dir.string()));
    }
    return fmt::format("  verified    the checksums of all {} samples agree with index.json\n", count);
  }
  throw UserError(path.string(), fmt::format("is not in the index beside it. Run `triptych index {}`.", dir.string()));
}

std::string describe_shard(const fs::path& path, const InspectOptions& options) {
  Problems problems;
  ShardScan scan = scan_shard(path, problems);
  DatasetIndex index;
  index.data_set_id = std::move(scan.data_set_id);
  index.shards.push_back(std::move(scan.shard));
  index.records = std::move(scan.records);
  index.caption_bytes = std::move(scan.caption_bytes);
  index.labels = std::move(scan.labels);
  index.roles = std::move(scan.roles);
  index.boxes = std::move(scan.boxes);
  if (!index.boxes.empty()) index.box_first = std::move(scan.box_first);
  if (!problems.empty()) throw UserError(path.string(), fmt::format("has {}", problems.text()));
  std::string text = fmt::format("{}: {} version {}\n  data set    {}\n  file        {}\n", path.string(),
                                 kShardFormatName, index.shards[0].layout.version(), index.data_set_id,
                                 human_bytes(static_cast<double>(index.shards[0].bytes)));
  text += counts_text(index) + examples_text(path.parent_path(), index);
  if (options.verify) text += compare_with_index(path, index);
  if (!options.decode) return text;
  const File file = File::open_read(path);
  return text + decode_all(path, index.records.size(), options, [&](uint64_t i, std::vector<std::byte>& image) {
           const IndexRecord& record = index.records[i];
           image.resize(record.image_bytes);
           file.pread(image, record.image_offset);
           return fmt::format("sample {} (id {})", i, record.id);
         });
}

std::string describe_folder(const fs::path& dir, const InspectOptions& options) {
  const Dataset dataset = Dataset::open(dir);
  const DatasetIndex index = read_index(dir);
  uint64_t bytes = 0;
  for (const IndexedShard& shard : index.shards) bytes += shard.bytes;
  std::string text = fmt::format("{}: data set\n  data set    {}\n  shards      {}, {} in all\n", dir.string(),
                                 index.data_set_id, index.shards.size(), human_bytes(static_cast<double>(bytes)));
  text += counts_text(index) + examples_text(dir, index);
  const auto decoded = [&]() -> std::string {
    if (!options.decode) return {};
    return decode_all(dir, dataset.size(), options, [&](uint64_t i, std::vector<std::byte>& image) {
      SampleBuffer buffer;
      dataset.read(i, buffer, SampleParts::kImage);
      image = std::move(buffer.image);
      return dataset.sample_name(i);
    });
  };
  if (!options.verify) return text + decoded();
  Problems problems;
  SampleBuffer buffer;
  for (uint64_t i = 0; i < dataset.size(); ++i) {
    try {
      dataset.read(i, buffer);
    } catch (const WorldError& error) {
      problems.add(error.what());
    }
  }
  if (!problems.empty()) throw WorldError(dir.string(), fmt::format("has {}", problems.text()));
  return text + fmt::format("  verified    the checksums of all {} samples\n", dataset.size()) + decoded();
}

}  // namespace

std::string describe_data(const fs::path& path, const InspectOptions& options) {
  std::error_code error;
  const fs::file_status status = fs::status(path, error);
  if (status.type() == fs::file_type::directory) return describe_folder(path, options);
  if (status.type() == fs::file_type::regular) return describe_shard(path, options);
  throw UserError(path.string(), status.type() == fs::file_type::not_found
                                     ? "does not exist. Name a shard or the folder of a data set."
                                     : "must be a shard or the folder of a data set.");
}

}  // namespace triptych::data
