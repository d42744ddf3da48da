// Makes a data set of any number of samples out of a small one: its shards are linked, and each sample of them stands
// in the index again and again, under ids of its own. So the index of a hundred million samples is a real one, with
// real images behind it, and takes the disk of an index alone.
//
//   repeat_index FROM TO NUM_SAMPLES     then: triptych train ... --set data.path=TO

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/core.h>

#include "base/error.h"
#include "base/file.h"
#include "data/index_json.h"

namespace {

using namespace triptych;
using namespace triptych::data;

/// Writes index.bin and hashes it on the way.
class ArraysWriter {
 public:
  explicit ArraysWriter(const std::filesystem::path& path) : file_(base::File::create(path)) {}

  template <typename T>
  void add(const T& value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    buffer_.insert(buffer_.end(), bytes.begin(), bytes.end());
    if (buffer_.size() >= kFlushBytes) flush();
  }
  base::Hash128 close() {
    flush();
    file_.sync_and_close();
    return hasher_.digest();
  }
  uint64_t num_bytes() const { return num_bytes_; }

 private:
  static constexpr std::size_t kFlushBytes = std::size_t{4} << 20;
  void flush() {
    hasher_.update(buffer_);
    file_.write(buffer_);
    num_bytes_ += buffer_.size();
    buffer_.clear();
  }

  base::File file_;
  base::Hasher hasher_;
  std::vector<std::byte> buffer_;
  uint64_t num_bytes_ = 0;
};

void repeat(const std::filesystem::path& from, const std::filesystem::path& to, uint64_t num_samples) {
  const DatasetIndex index = read_index(from);
  if (!index.roles.empty() || !index.boxes.empty()) throw base::UserError(from.string(), "must have no roles or boxes");
  if (num_samples < index.records.size()) throw base::UserError("NUM_SAMPLES", "must be at least those of FROM");
  std::filesystem::create_directories(to);
  std::vector<IndexedShard> shards = index.shards;
  // Of each shard, how many samples it gets, and the texts of its own.
  std::vector<uint64_t> first_sample, first_caption;
  uint64_t samples = 0, captions = 0;
  for (const IndexedShard& shard : index.shards) {
    first_sample.push_back(samples);
    first_caption.push_back(captions);
    samples += shard.layout.num_samples;
    captions += shard.layout.num_captions;
  }
  const auto each = [&](const auto& visit) {  // visit(shard, sample of FROM)
    for (std::size_t s = 0; s < shards.size(); ++s) {
      const uint64_t own = index.shards[s].layout.num_samples;
      for (uint64_t k = 0; k < shards[s].layout.num_samples; ++k) visit(s, first_sample[s] + k % own);
    }
  };
  uint64_t left = num_samples, num_captions = 0;
  for (std::size_t s = 0; s < shards.size(); ++s) {
    shards[s].layout.num_samples = s + 1 == shards.size() ? left : num_samples / shards.size();
    left -= shards[s].layout.num_samples;
    shards[s].layout.num_captions = 0;
  }
  each([&](std::size_t s, uint64_t i) {
    shards[s].layout.num_captions += index.records[i].num_captions;
    num_captions += index.records[i].num_captions;
  });
  const ArraysHeader header = make_arrays_header(num_samples, num_captions, !index.labels.empty(), false, 0);
  ArraysWriter writer(to / kIndexArraysName);
  writer.add(header);
  uint64_t id = 0;
  std::vector<uint32_t> next_caption(shards.size());
  each([&](std::size_t s, uint64_t i) {
    IndexRecord record = index.records[i];
    record.id = id++;
    record.first_caption = next_caption[s];
    next_caption[s] += record.num_captions;
    writer.add(record);
  });
  if (!index.labels.empty()) each([&](std::size_t, uint64_t i) { writer.add(index.labels[i]); });
  each([&](std::size_t s, uint64_t i) {
    const IndexRecord& record = index.records[i];
    for (uint32_t k = 0; k < record.num_captions; ++k) {
      writer.add(index.caption_bytes[first_caption[s] + record.first_caption + k]);
    }
  });
  const base::Hash128 hash = writer.close();
  for (const IndexedShard& shard : shards) {
    std::filesystem::create_symlink(std::filesystem::absolute(from / shard.file), to / shard.file);
  }
  write_index_description(to, {.data_set_id = index.data_set_id,
                               .shards = shards,
                               .header = header,
                               .arrays_bytes = writer.num_bytes(),
                               .arrays_hash = hash});
  fmt::print("{}: {} samples, index.bin of {} bytes\n", to.string(), num_samples, writer.num_bytes());
}

}  // namespace

int main(int count, char** words) {
  try {
    uint64_t num_samples = 0;
    if (count != 4 || std::from_chars(words[3], words[3] + std::strlen(words[3]), num_samples).ec != std::errc()) {
      fmt::print(stderr, "usage: repeat_index FROM TO NUM_SAMPLES\n");
      return 2;
    }
    repeat(words[1], words[2], num_samples);
    return 0;
  } catch (const base::Error& error) {
    fmt::print(stderr, "{}\n", error.what());
    return 1;
  }
}
