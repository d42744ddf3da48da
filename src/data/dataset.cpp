#include "data/dataset.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>

#include "base/checked.h"
#include "data/class_names.h"

namespace triptych::data {
namespace {

bool has_classes(const DataFolder& folder) {
  if (folder.has_labels()) return true;
  // A box may have a phrase alone; which have a class only a pass over all of them would tell.
  return folder.facts().num_boxes != 0;
}

/// "class 3 is \"cat\" there and \"dog\" here".
std::string difference_of(const std::vector<std::string>& there, const std::vector<std::string>& here) {
  for (std::size_t k = 0; k < std::min(there.size(), here.size()); ++k) {
    if (there[k] != here[k]) return fmt::format("class {} is \"{}\" there and \"{}\" here", k, there[k], here[k]);
  }
  return fmt::format("there are {} names there and {} here", there.size(), here.size());
}

}  // namespace

Dataset Dataset::open(const std::filesystem::path& dir) {
  std::vector<DataFolder> one;
  one.push_back(DataFolder::open(dir.string()));
  return Dataset(std::move(one));
}

Dataset::Dataset(std::vector<DataFolder> sources) : sources_(std::move(sources)) {
  TRIPTYCH_CHECK(!sources_.empty(), "a data set needs a source");
  std::string path;
  Hasher hasher;
  for (const DataFolder& source : sources_) {
    first_sample_.push_back(first_sample_.back() + source.size());
    if (source.num_shards() > ~uint32_t{0} - first_shard_.back()) {
      throw UserError(source.path().string(), "is one data set too many: all together have more than 2^32 shards.");
    }
    first_shard_.push_back(first_shard_.back() + source.num_shards());
    facts_.add(source.facts());
    const std::array hash{source.facts().content_hash.high, source.facts().content_hash.low};
    hasher.update(std::as_bytes(std::span(hash)));
    path += fmt::format("{}{}", path.empty() ? "" : " + ", source.path().string());
  }
  facts_.content_hash = sources_.size() == 1 ? sources_.front().facts().content_hash : hasher.digest();
  path_ = path;
  if (sources_.size() > 1) check_sources();
}

void Dataset::check_sources() const {
  std::optional<std::vector<std::string>> names;  // of the first that has classes
  const DataFolder* named = nullptr;
  for (std::size_t s = 0; s < sources_.size(); ++s) {
    const DataFolder& source = sources_[s];
    for (std::size_t t = 0; t < s; ++t) {
      if (sources_[t].facts().content_hash != source.facts().content_hash) continue;
      throw UserError(source.path().string(),
                      fmt::format("has the same samples as {}, and a batch would have them twice. Name it once, with "
                                  "the sum of both weights.",
                                  sources_[t].path().string()));
    }
    if (!has_classes(source)) continue;
    std::vector<std::string> here = read_class_names(source.local_folder());
    if (!names) {
      names = std::move(here);
      named = &source;
    } else if (*names != here) {
      throw UserError(source.path().string(),
                      fmt::format("labels must mean the same in all sources: {} has a {} that differs from that of {}, "
                                  "{}. Give all of them the same {}, or none any.",
                                  source.path().string(), kClassNamesFile, named->path().string(),
                                  difference_of(*names, here), kClassNamesFile));
    }
  }
}

std::string Dataset::data_set_id() const {
  std::string id;
  for (const DataFolder& source : sources_) id += fmt::format("{}{}", id.empty() ? "" : " + ", source.data_set_id());
  return id;
}

uint64_t Dataset::num_captions() const {
  uint64_t count = 0;
  for (const DataFolder& source : sources_) count += source.num_captions();
  return count;
}

bool Dataset::has_labels() const {
  return std::ranges::any_of(sources_, [](const DataFolder& source) { return source.has_labels(); });
}

std::size_t Dataset::source_of(uint64_t i) const {
  TRIPTYCH_CHECK(i < size(), "sample {} of {}", i, size());
  if (sources_.size() == 1) return 0;
  return static_cast<std::size_t>(std::ranges::upper_bound(first_sample_, i) - first_sample_.begin() - 1);
}

std::size_t Dataset::source_of_shard(uint32_t shard) const {
  TRIPTYCH_CHECK(shard < num_shards(), "shard {} of {}", shard, num_shards());
  return static_cast<std::size_t>(std::ranges::upper_bound(first_shard_, shard) - first_shard_.begin() - 1);
}

std::string_view Dataset::shard_name(uint32_t shard) const {
  const std::size_t s = source_of_shard(shard);
  return sources_[s].shard_name(shard - first_shard_[s]);
}

uint64_t Dataset::first_sample(uint32_t shard) const {
  const std::size_t s = source_of_shard(shard);
  return first_sample_[s] + sources_[s].first_sample(shard - first_shard_[s]);
}

uint64_t Dataset::id(uint64_t i) const {
  const std::size_t s = source_of(i);
  return sources_[s].id(i - first_sample_[s]);
}

std::string Dataset::sample_name(uint64_t i) const {
  const std::size_t s = source_of(i);
  const std::string name = sources_[s].sample_name(i - first_sample_[s]);
  return sources_.size() == 1 ? name : fmt::format("{}: {}", sources_[s].path().string(), name);
}

SampleRecord Dataset::record(uint64_t i) const {
  const std::size_t s = source_of(i);
  SampleRecord record = sources_[s].record(i - first_sample_[s]);
  record.shard += first_shard_[s];
  return record;
}

void Dataset::read(uint64_t i, SampleBuffer& buffer, SampleParts parts) const {
  const std::size_t s = source_of(i);
  sources_[s].read(i - first_sample_[s], buffer, parts);
}

}  // namespace triptych::data
