#include "training/run_inputs.h"

#include <algorithm>
#include <functional>
#include <sstream>

#include "checkpoint/checkpoint_folder.h"
#include "data/source_mix.h"
#include "training/data_config.h"
#include "training/init_from.h"
#include "training/run_checkpoint.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

fs::path tokenizer_path(const RunConfig& config, const Dataset& dataset) {
  if (!config.data.tokenizer.empty()) return config.data.tokenizer;
  return dataset.source(0).local_folder() / kTokenizerFile;
}

// A cache must hold what the order reads at a time, and what it reads next, or each sample would fetch a shard anew.
void require_room(const std::vector<DataFolder>& folders, const DataOptions& data) {
  uint64_t needed = 0;
  const auto window = static_cast<uint64_t>(data.shuffle_shards);
  for (const DataFolder& folder : folders) {
    if (folder.is_remote()) needed += folder.bytes_of_largest(window > 0 ? 2 * window : ~uint64_t{0});
  }
  const double needed_gb = static_cast<double>(needed) / 1e9;
  if (needed_gb <= data.cache_max_gb) return;
  throw UserError("data.cache.max_gb",
                  window > 0 ? fmt::format("must hold two windows of {} shards of every source behind an address: they "
                                           "have {:.3g} GB, found {:g}. Raise it, or lower data.shuffle_shards",
                                           window, needed_gb, data.cache_max_gb)
                             : fmt::format("must hold all shards of the sources behind an address, since an epoch's "
                                           "order goes through all of them at once: they have {:.3g} GB, found {:g}. "
                                           "Raise it, or set data.shuffle_shards",
                                           needed_gb, data.cache_max_gb));
}

// What decides, besides the samples, in which order they come.
std::string order_text(const RunConfig& config, const std::vector<double>& weights) {
  std::string text;
  if (weights.size() > 1) text = fmt::format("shares {}", SourceMix(weights).text());
  if (config.data.shuffle_shards > 0) {
    text += fmt::format("{}windows of {} shards", text.empty() ? "" : ", ", config.data.shuffle_shards);
  }
  return text;
}

std::vector<DataSource> sources_named(const RunConfig& config) {
  std::vector<DataSource> sources = data_sources(config.data);
  if (sources.empty()) throw UserError("data.path", "must name a data set. Set it in the config");
  return sources;
}

CacheOptions cache_of(const RunConfig& config) {
  return {.dir = config.data.cache_dir, .max_bytes = static_cast<uint64_t>(config.data.cache_max_gb * 1e9)};
}

void use_folders(const RunConfig& config, std::vector<DataFolder> folders, RunInputs& inputs) {
  require_room(folders, config.data);
  inputs.dataset = std::make_shared<const Dataset>(std::move(folders));
  config.task->check_data(*inputs.dataset);
  inputs.data_hash = inputs.dataset->content_hash().hex();
  inputs.weights.clear();
  for (const DataSource& source : sources_named(config)) inputs.weights.push_back(source.weight);
  inputs.order = order_text(config, inputs.weights);
}

std::string text_of(const ManifestValues& values, const std::string& key) {
  const auto found = values.find(key);
  const auto* text = found == values.end() ? nullptr : std::get_if<std::string>(&found->second);
  return text == nullptr ? "" : *text;
}

// Newest first, one a line.
std::string saves_of(const fs::path& folder) {
  std::string names;
  std::vector<SavedStep> saves = list_saves(folder);
  std::reverse(saves.begin(), saves.end());
  for (const SavedStep& saved : saves) names += step_folder_name(saved.step) + "\n";
  return names;
}

// What the first rank's work returns, on every rank. Collective.
std::string of_first_rank(Group& group, const std::function<std::string()>& work) {
  std::string text;
  together(group, [&] {
    if (group.rank() == 0) text = work();
  });
  return group.all_gather_string(text).front();
}

std::optional<CheckpointReader> open_together(Group& group, const std::function<fs::path()>& find) {
  const fs::path path = of_first_rank(group, [&] { return find().string(); });
  std::optional<CheckpointReader> reader;
  together(group, [&] { reader.emplace(CheckpointReader::open(path, kLatestName)); });
  return reader;
}

std::optional<CheckpointReader> newest_sound(const fs::path& folder, Group& group, std::vector<std::string>& notes) {
  const std::string names = of_first_rank(group, [&] { return saves_of(folder); });
  std::string passed_over;
  for (std::size_t begin = 0; begin < names.size();) {
    const std::size_t end = names.find('\n', begin);
    std::optional<CheckpointReader> reader;
    try {
      together(group, [&] {
        reader.emplace(CheckpointReader::open(folder / names.substr(begin, end - begin), kLatestName));
        reader->verify(group.rank(), group.size());
      });
      return reader;
    } catch (const Error& error) {
      // What is not agreed on is a peer that is lost, and no fault of the checkpoint.
      const bool is_of_all = group.size() == 1 || dynamic_cast<const AgreedError*>(&error) != nullptr;
      if (!is_of_all || error.kind() != ErrorKind::kWorld) throw;
      notes.push_back(fmt::format("warning: a damaged checkpoint is passed over: {}", error.what()));
      passed_over += fmt::format("\n  {}", error.what());
    }
    begin = end + 1;
  }
  if (names.empty()) return std::nullopt;
  throw AgreedError(ErrorKind::kWorld,
                    fmt::format("[{}] one checkpoint at least must be sound, found none:{}\nBring one back, or start a "
                                "new run in another run.dir",
                                folder.string(), passed_over));
}

}  // namespace

fs::path checkpoints_of(const RunConfig& config) {
  return fs::path(config.run.dir) / "checkpoints";
}

void open_data(const RunConfig& config, RunInputs& inputs) {
  const CacheOptions cache = cache_of(config);
  std::vector<DataFolder> folders;
  for (const DataSource& source : sources_named(config)) {
    folders.push_back(DataFolder::open(source.path, {.cache = &cache}));
  }
  use_folders(config, std::move(folders), inputs);
}

void open_data_together(const RunConfig& config, World& world, RunInputs& inputs, const IndexProgress& progress) {
  Group& group = world.group();
  const CacheOptions cache = cache_of(config);
  const bool checks = world.node_rank() == 0;
  std::vector<DataFolder> folders;
  std::string found;  // of each source, a line
  together(group, [&] {
    for (const DataSource& source : sources_named(config)) {
      if (!checks) continue;
      const IndexProgress& told = group.rank() == 0 ? progress : IndexProgress();
      folders.push_back(DataFolder::open(source.path, {.progress = told, .cache = &cache}));
      found += folders.back().checked().to_text() + "\n";
    }
  });
  // That of this machine is found by its name.
  const std::string host = world.host() + "\n";
  for (const std::string& of_rank : group.all_gather_string(checks ? host + found : "")) {
    if (!checks && of_rank.starts_with(host)) found = of_rank.substr(host.size());
  }
  together(group, [&] {
    const std::vector<DataSource> sources = sources_named(config);
    std::istringstream lines(found);
    for (std::size_t s = folders.size(); s < sources.size(); ++s) {
      std::string line;
      std::optional<CheckedIndex> known;
      if (std::getline(lines, line)) known = CheckedIndex::from_text(line);
      folders.push_back(DataFolder::open(sources[s].path, {.checked = known ? &*known : nullptr, .cache = &cache}));
    }
    use_folders(config, std::move(folders), inputs);
  });
}

void open_tokenizer(const RunConfig& config, RunInputs& inputs) {
  if (config.task->vocabulary() == 0) return;
  if (inputs.checkpoint) {
    inputs.tokenizer = read_tokenizer(*inputs.checkpoint, *config.task);
  } else {
    const fs::path path = tokenizer_path(config, *inputs.dataset);
    if (!fs::exists(path)) {
      throw UserError(
          path.string(),
          fmt::format("there is no tokenizer. Name one with data.tokenizer, or make one: triptych tokenizer "
                      "train {}",
                      inputs.dataset->source(0).path().string()));
    }
    inputs.tokenizer = Tokenizer::from_file(path);
  }
  inputs.tokenizer->check_fits(config.task->vocabulary());
  config.task->fields(inputs.tokenizer);  // which refuses one that lacks a begin, an end, or room for a mask
}

std::optional<CheckpointReader> find_checkpoint(const RunConfig& config, const std::string& resume, Group& group,
                                                std::vector<std::string>& notes) {
  if (resume.empty()) return std::nullopt;
  if (resume == "auto") return newest_sound(checkpoints_of(config), group, notes);
  return open_together(group, [&] { return resolve_checkpoint(checkpoints_of(config), resume); });
}

std::optional<CheckpointReader> find_initial(const RunConfig& config, Group& group) {
  if (config.init.from.empty()) return std::nullopt;
  return open_together(group, [&] { return checkpoint_to_begin_with(config.init.from); });
}

void require_same_data(const CheckpointReader& reader, const RunInputs& inputs, std::vector<std::string>& notes) {
  const ManifestValues& cursor = reader.manifest().run.cursor;
  const uint64_t then_size = get_uint64(cursor, "num_samples"), now_size = inputs.dataset->size();
  const std::string then_hash = text_of(cursor, kDataHashKey), then_id = text_of(cursor, "data_set");
  const std::string& now_id = inputs.dataset->data_set_id();
  const auto refuse = [&](const std::string& then, const std::string& now) {
    throw UserError(reader.folder().string(),
                    fmt::format("its run learned from another data set, or from the same samples in another order: {} "
                                "samples, {}; the data set {} has {} samples, {}. The order of samples would change: "
                                "use the old data, or start a new run",
                                then_size, then, inputs.dataset->path().string(), now_size, now));
  };
  if (const std::string then_order = text_of(cursor, kDataOrderKey); then_order != inputs.order) {
    const auto told = [](const std::string& order) { return order.empty() ? "of one source, all at once" : order; };
    throw UserError(reader.folder().string(),
                    fmt::format("its run drew samples in another order: {}; the config says: {}. Use the old sources, "
                                "weights and data.shuffle_shards, or start a new run (init.from takes the weights)",
                                told(then_order), told(inputs.order)));
  }
  if (!then_hash.empty()) {
    if (then_hash != inputs.data_hash) refuse("hash " + then_hash, "hash " + inputs.data_hash);
    return;
  }
  if (then_size != now_size || then_id != now_id) refuse("id " + then_id, "id " + now_id);
  notes.push_back(
      "warning: the checkpoint is of a version that kept no hash of its data: they are compared by the data set's id "
      "and number of samples alone");
}

std::vector<SharedFact> facts_of(const RunInputs& inputs) {
  std::vector<SharedFact> facts{{"data set", inputs.dataset->data_set_id()}, {"samples (hash)", inputs.data_hash}};
  if (inputs.tokenizer) facts.push_back({"tokenizer (hash)", inputs.tokenizer->hash().hex()});
  if (inputs.checkpoint) facts.push_back({"checkpoint (hash)", inputs.checkpoint->contents_id()});
  if (inputs.initial) facts.push_back({"checkpoint of init.from (hash)", inputs.initial->contents_id()});
  return facts;
}

}  // namespace triptych::training
