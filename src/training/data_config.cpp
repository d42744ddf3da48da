#include "training/data_config.h"

#include "data/remote_url.h"
#include "data/shard_format.h"
#include "data/source_mix.h"

namespace triptych::training {
namespace {

void read_sources(ConfigReader& reader, DataOptions& d) {
  d.sources.resize(reader.num_tables("data.source"));
  for (std::size_t i = 0; i < d.sources.size(); ++i) {
    const auto key = [&](std::string_view name) { return fmt::format("data.source.{}.{}", i, name); };
    reader
        .read(key("path"), d.sources[i].path,
              "In place of data.path, one of several data sets that a run draws samples from at the same time.")
        .required();
    reader
        .read(key("weight"), d.sources[i].weight,
              "Its share of all samples that are seen is this over the sum of all weights, whatever its size: each "
              "source goes round in epochs of its own.")
        .positive()
        .at_most(1e12);
  }
  if (!d.sources.empty() && !d.path.empty()) {
    reader.problem("data.path", "and [[data.source]] are two ways to say the same",
                   "Leave out one: make data.path a source of its own, or remove the sources");
  }
  if (d.sources.size() > kMaxSources) {
    reader.problem("data.source", fmt::format("must be at most {} tables, found {}", kMaxSources, d.sources.size()),
                   "Join some of the data sets into one");
  }
}

}  // namespace

void read_data(ConfigReader& reader, DataOptions& d) {
  reader
      .read("data.path", d.path,
            "Folder of shards, made by `triptych ingest` or indexed by `triptych index`; or the address of one: "
            "https://, http:// or s3://bucket/folder.")
      .also_called({"train_data", "train_path", "data_dir", "data_path", "dataset", "dataset_path"});
  read_sources(reader, d);
  reader.read(
      "data.tokenizer", d.tokenizer,
      "A tokenizer of any kind that docs/tokenizers.md names; empty: tokenizer.model in data.path, or in the first "
      "source's folder.");
  reader.read("data.cache.dir", d.cache_dir,
              "Where shards of a source behind an address are kept; ranks of a machine, and runs, may share it.");
  reader
      .read("data.cache.max_gb", d.cache_max_gb,
            "GB (10^9 bytes) of shards that are kept there, those of all data sets together: the ones that were "
            "longest not opened give way. Indexes come on top.")
      .positive()
      .at_most(1e9);
  for (const DataSource& source : data_sources(d)) {
    if (!is_url(source.path) || !d.cache_dir.empty()) continue;
    reader.problem("data.cache.dir", fmt::format("must name a folder where there is an address: {}", source.path),
                   "Set it, to a disk of the machine that has room for the shards");
    break;
  }
  reader
      .read("data.shuffle_shards", d.shuffle_shards,
            "0: an epoch's order is of all of a source's samples. Else its shards are put in an order, and samples are "
            "shuffled within so many of them at a time, so that few are read at once.")
      .at_least(0)
      .at_most(static_cast<int64_t>(kMaxShards))
      .also_called({"shuffle_buffer", "shuffle_buffer_size"});
  reader.read("data.threads", d.threads, "Threads of each rank that read and decode.")
      .at_least(1)
      .at_most(1024)
      .also_called({"workers", "num_workers", "dataloader_num_workers"});
  reader.read("data.prefetch", d.prefetch, "Batches in flight, at most.")
      .at_least(1)
      .at_most(1024)
      .also_called({"prefetch_factor"});
  reader.read("data.max_bad_fraction", d.max_bad_fraction, "Share of unusable samples beyond which training stops.")
      .at_least(0)
      .at_most(1);
  ModalityDropout& hidden = d.modality_dropout;
  reader
      .read(
          "data.modality_dropout.image", hidden.image,
          "Share of the samples with an image and a caption that training shows without the image, anew in each epoch: "
          "a model then learns to do without it.")
      .at_least(0)
      .at_most(1);
  reader
      .read("data.modality_dropout.text", hidden.text,
            "Share shown without the caption. A sample never lacks both: the two shares together are at most 1.")
      .at_least(0)
      .at_most(1);
  if (hidden.image + hidden.text > 1) {
    reader.problem(
        "data.modality_dropout.text",
        fmt::format("must leave a part of each sample: image {} + text {} is more than 1", hidden.image, hidden.text),
        "Lower one of them");
  }
}

std::vector<DataSource> data_sources(const DataOptions& data) {
  if (!data.sources.empty()) return data.sources;
  if (data.path.empty()) return {};
  return {{.path = data.path}};
}

std::string only_source_of(const DataOptions& data, std::string_view use) {
  const std::vector<DataSource> sources = data_sources(data);
  if (sources.size() > 1) {
    throw UserError(
        "data.source",
        fmt::format("{} takes one data set, and the config draws from {}. Name one by data.path", use, sources.size()));
  }
  return sources.empty() ? "" : sources.front().path;
}

}  // namespace triptych::training
