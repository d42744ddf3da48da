#include "data/index_builder.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "data/index_file.h"
#include "data/problems.h"
#include "data/shard_files.h"
#include "data/shard_scan.h"

namespace triptych::data {
namespace {

/// Adds a problem for every id that a second sample has.
void find_duplicate_ids(const DatasetIndex& index, Problems& problems) {
  struct Place {
    uint64_t id, shard, sample;
  };
  std::vector<Place> places;
  places.reserve(index.records.size());
  for (uint64_t s = 0, i = 0; s < index.shards.size(); ++s) {
    for (uint64_t k = 0; k < index.shards[s].layout.num_samples; ++k, ++i)
      places.push_back({index.records[i].id, s, k});
  }
  std::stable_sort(places.begin(), places.end(), [](const Place& a, const Place& b) { return a.id < b.id; });
  for (std::size_t i = 1; i < places.size(); ++i) {
    const Place &a = places[i - 1], &b = places[i];
    if (a.id != b.id) continue;
    problems.add(fmt::format("{} sample {}: the id {} was already that of {} sample {}", index.shards[b.shard].file,
                             b.sample, b.id, index.shards[a.shard].file, a.sample));
  }
}

}  // namespace

IndexSummary build_index(const std::filesystem::path& dir, const std::function<void(uint64_t, uint64_t)>& progress) {
  const std::vector<std::string> names = list_shard_files(dir);
  if (names.empty()) {
    throw UserError(dir.string(), "holds no shard: no file here ends in .h5. Name the folder that holds them.");
  }
  if (names.size() > kMaxShards) {
    throw UserError(dir.string(), fmt::format("holds {} shards, at most {} are allowed. Make larger ones.",
                                              names.size(), kMaxShards));
  }
  Problems problems;
  DatasetIndex index;
  IndexSummary summary;
  bool any_labels = false;
  std::vector<uint64_t> box_first{0};
  for (const std::string& name : names) {
    const std::filesystem::path path = dir / name;
    ShardScan scan = scan_shard(path, problems);
    if (index.shards.empty()) index.data_set_id = scan.data_set_id;
    if (scan.data_set_id != index.data_set_id) {
      throw UserError(
          path.string(),
          fmt::format("belongs to the data set '{}', but {} to '{}'. Give every data set a folder of its own.",
                      scan.data_set_id, names.front(), index.data_set_id));
    }
    any_labels |= !scan.labels.empty();
    if (any_labels) {
      // Samples of shards without labels have none.
      index.labels.resize(index.records.size(), kNoLabel);
      index.labels.insert(index.labels.end(), scan.labels.begin(), scan.labels.end());
      index.labels.resize(index.records.size() + scan.records.size(), kNoLabel);
    }
    if (!index.roles.empty() || !scan.roles.empty()) {
      // Texts of shards without roles are captions.
      index.roles.resize(index.caption_bytes.size(), TextRole::kCaption);
      index.roles.insert(index.roles.end(), scan.roles.begin(), scan.roles.end());
      index.roles.resize(index.caption_bytes.size() + scan.caption_bytes.size(), TextRole::kCaption);
    }
    const uint64_t boxes_before = index.boxes.size();
    for (std::size_t k = 1; k <= scan.records.size(); ++k) {
      box_first.push_back(boxes_before + (scan.box_first.empty() ? 0 : scan.box_first[k]));
    }
    index.boxes.insert(index.boxes.end(), scan.boxes.begin(), scan.boxes.end());
    index.shards.push_back(std::move(scan.shard));
    index.records.insert(index.records.end(), scan.records.begin(), scan.records.end());
    index.caption_bytes.insert(index.caption_bytes.end(), scan.caption_bytes.begin(), scan.caption_bytes.end());
    if (progress) progress(index.shards.size(), names.size());
  }
  if (!index.boxes.empty()) index.box_first = std::move(box_first);
  find_duplicate_ids(index, problems);
  if (!problems.empty()) {
    throw UserError(dir.string(), fmt::format("its shards have {}\nMend or leave out these samples, then index again.",
                                              problems.text()));
  }
  if (index.records.empty()) throw UserError(dir.string(), "is an empty data set: its shards hold no sample.");

  summary.num_shards = index.shards.size();
  summary.num_samples = index.records.size();
  summary.num_captions = index.caption_bytes.size();
  summary.num_boxes = index.boxes.size();
  for (const IndexRecord& record : index.records) summary.num_images += record.image_bytes != 0;
  write_index(dir, index);
  return summary;
}

}  // namespace triptych::data
