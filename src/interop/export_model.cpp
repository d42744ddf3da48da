#include "interop/export_model.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "interop/new_folder.h"
#include "text/tokenizer.h"
#include "training/init_names.h"
#include "training/run_checkpoint.h"

namespace triptych::interop {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A tensor of theirs and what it is made of, in the table's order.
struct TheirTensor {
  std::string name;
  Dims shape;
  std::vector<TensorLink> links;
};

std::vector<TheirTensor> tensors_of(const TensorTable& table) {
  std::vector<TheirTensor> tensors;
  std::map<std::string, std::size_t> number;
  for (const TensorLink& link : table.links()) {
    const auto [found, is_new] = number.try_emplace(link.theirs, tensors.size());
    if (is_new) tensors.push_back({link.theirs, link.their_shape, {}});
    tensors[found->second].links.push_back(link);
  }
  return tensors;
}

std::optional<int64_t> end_token_of(const Tokenizer& tokenizer) {
  const std::optional<int32_t> end = tokenizer.special().end;
  return end ? std::optional<int64_t>(*end) : std::nullopt;
}

// As the libraries call a tokenizer's file of this kind, which its first bytes tell.
std::string tokenizer_name(const std::string& bytes) {
  if (bytes.starts_with("{")) return "tokenizer.json";
  return bytes.starts_with("\x1f\x8b") ? "bpe_simple_vocab_16e6.txt.gz" : std::string(kTokenizerFile);
}

// The family that a config's model is of, with its keys; of those that it is not, the one with the least against it.
const Family& family_of(Library library, const RunConfig& config, const std::optional<int64_t>& end_token,
                        std::unique_ptr<ConfigLinks>& links) {
  const Family* nearest = nullptr;
  for (const Family& family : all_families()) {
    if (family.library != library) continue;
    auto mine = std::make_unique<ConfigLinks>(config);
    mine->end_token = end_token;
    if (mine->our_word("task") != family.task) continue;
    family.link_config(*mine);
    mine->look_for_rest();
    if (nearest == nullptr || mine->problems().size() < links->problems().size()) {
      nearest = &family;
      links = std::move(mine);
    }
  }
  if (nearest == nullptr) {
    throw UserError("export",
                    fmt::format("a model of the task `{}` is none that {} has. docs/interop.md lists what there "
                                "is",
                                ConfigLinks(config).our_word("task"), library_name(library)));
  }
  if (!links->problems().empty()) {
    throw UserError("export", fmt::format("the model is nearest to {} of {}, and is not one:\n  {}\n"
                                          "docs/interop.md lists what each family has",
                                          nearest->name, library_name(library), fmt::join(links->problems(), "\n  ")));
  }
  return *nearest;
}

// Throws UserError unless the checkpoint's parameters are those of the table, with these shapes.
void check_parameters(const TensorTable& table, const CheckpointReader& checkpoint) {
  const Manifest& manifest = checkpoint.manifest();
  std::map<std::string, Dims> ours;
  for (const TensorLink& link : table.links()) ours.emplace(link.ours, link.our_shape);
  std::vector<std::string> missing, extra;
  for (const auto& [name, shape] : ours) {
    const auto found = manifest.tensors.find(name);
    if (found == manifest.tensors.end() || found->second.shape != shape || found->second.dtype != DType::kFloat32) {
      missing.push_back(fmt::format("{} [{}]", name, fmt::join(shape, ", ")));
    }
  }
  for (const auto& [name, tensor] : manifest.tensors) {
    if (!ours.contains(name) && !is_of_optimizer(manifest, name)) extra.push_back(name);
  }
  if (missing.empty() && extra.empty()) return;
  throw UserError(
      checkpoint.folder().string(),
      fmt::format("must have the config's parameters and no others, found missing {}; without a counterpart "
                  "{}. Merge adapters first (`triptych merge`), and name the config it was made with",
                  short_list(missing), short_list(extra)));
}

// Reads our parameters, of which neighbours in the table are often one.
class ParameterSource {
 public:
  ParameterSource(CheckpointReader& checkpoint, SavedWeights weights) : checkpoint_(checkpoint), weights_(weights) {}

  std::span<const float> read(const TensorLink& link) {
    if (link.ours != name_) {
      name_ = link.ours;
      values_.resize(static_cast<std::size_t>(volume(link.our_shape)));
      const TensorBox box{.name = saved_name(checkpoint_.manifest(), link.ours, weights_),
                          .dtype = DType::kFloat32,
                          .global_shape = link.our_shape,
                          .begin = Dims(link.our_shape.size(), 0),
                          .shape = link.our_shape};
      checkpoint_.read(box, reinterpret_cast<std::byte*>(values_.data()));
    }
    return std::span(values_).subspan(static_cast<std::size_t>(link.our_begin), static_cast<std::size_t>(link.count));
  }

 private:
  CheckpointReader& checkpoint_;
  SavedWeights weights_;
  std::string name_;
  std::vector<float> values_;
};

std::vector<float> make_tensor(const TheirTensor& tensor, ParameterSource& source) {
  std::vector<float> values(static_cast<std::size_t>(volume(tensor.shape)));
  for (const TensorLink& link : tensor.links) {
    const std::span<const float> part = source.read(link);
    if (!link.turned) {
      std::copy(part.begin(), part.end(), values.begin() + link.their_begin);
      continue;
    }
    const auto rows = static_cast<std::size_t>(tensor.shape[0]), columns = static_cast<std::size_t>(tensor.shape[1]);
    for (std::size_t i = 0; i < rows; ++i) {
      for (std::size_t j = 0; j < columns; ++j) values[i * columns + j] = part[j * rows + i];
    }
  }
  return values;
}

// How many of the tensors from each on go into one file.
std::vector<std::size_t> cut_files(const std::vector<TheirTensor>& tensors, uint64_t max_bytes) {
  std::vector<std::size_t> counts;
  uint64_t bytes = 0;
  for (const TheirTensor& tensor : tensors) {
    const uint64_t more = static_cast<uint64_t>(volume(tensor.shape)) * sizeof(float);
    if (counts.empty() || bytes + more > max_bytes) {
      counts.push_back(0);
      bytes = 0;
    }
    ++counts.back();
    bytes += more;
  }
  return counts;
}

void write_json(const fs::path& path, const json& value, std::vector<std::string>& files) {
  write_file_atomically(path, value.dump(2) + "\n");
  files.push_back(path.filename().string());
}

// The tensors, in as many files as their size wants.
void write_tensors(const ExportRequest& request, const fs::path& folder, const std::vector<TheirTensor>& tensors,
                   ParameterSource& source, std::vector<std::string>& files) {
  const bool is_open_clip = request.library == Library::kOpenClip;
  const std::vector<std::size_t> counts = cut_files(tensors, is_open_clip ? UINT64_MAX : request.max_file_bytes);
  json map = json::object();
  uint64_t total = 0;
  std::size_t next = 0;
  for (std::size_t i = 0; i < counts.size(); ++i) {
    const std::string name = is_open_clip ? "open_clip_model.safetensors"
                             : counts.size() == 1
                                 ? "model.safetensors"
                                 : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, counts.size());
    std::vector<std::vector<float>> values;
    std::vector<SafetensorsInput> inputs;
    for (std::size_t k = 0; k < counts[i]; ++k, ++next) {
      const TheirTensor& tensor = tensors[next];
      values.push_back(make_tensor(tensor, source));
      inputs.push_back({.name = tensor.name,
                        .dtype = DType::kFloat32,
                        .shape = tensor.shape,
                        .data = reinterpret_cast<const std::byte*>(values.back().data())});
      map[tensor.name] = name;
      total += values.back().size() * sizeof(float);
    }
    write_safetensors(folder / name, inputs, {{"format", "pt"}});
    files.push_back(name);
  }
  if (counts.size() > 1) {
    write_json(folder / "model.safetensors.index.json", {{"metadata", {{"total_size", total}}}, {"weight_map", map}},
               files);
  }
}

}  // namespace

ExportResult export_model(const ExportRequest& request, const RunConfig& config, CheckpointReader& checkpoint) {
  NewFolder made(request.out);
  const std::string& then = checkpoint.manifest().run.model;
  if (const std::string now = config.task->model().fingerprint; then != now) {
    throw UserError(
        checkpoint.folder().string(),
        fmt::format("is a checkpoint of another model.\n  checkpoint: {}\n  config:     {}\nName the config "
                    "it was made with, or the checkpoint alone",
                    then, now));
  }
  if (request.weights == SavedWeights::kAverage) require_averages(checkpoint);
  const std::vector<ManifestFile>& saved = checkpoint.manifest().files;
  const bool has_tokenizer =
      std::any_of(saved.begin(), saved.end(), [](const ManifestFile& file) { return file.name == kTokenizerFile; });
  const std::shared_ptr<const Tokenizer> tokenizer = has_tokenizer ? read_tokenizer(checkpoint, *config.task) : nullptr;
  std::unique_ptr<ConfigLinks> links;
  const Family& family = family_of(request.library, config, tokenizer ? end_token_of(*tokenizer) : std::nullopt, links);
  const TensorTable table = family.tensors(links->ours(), std::string(family.spellings.front()));
  check_parameters(table, checkpoint);

  ExportResult result{.family = std::string(family.name), .files = {}, .notes = links->notes()};
  const std::vector<TheirTensor> tensors = tensors_of(table);
  for (const TheirTensor& tensor : tensors) result.num_parameters += volume(tensor.shape);
  ParameterSource source(checkpoint, request.weights);
  write_tensors(request, made.path(), tensors, source, result.files);
  if (tokenizer) {
    result.files.push_back(tokenizer_name(tokenizer->bytes()));
    write_file_atomically(made.path() / result.files.back(), tokenizer->bytes());
  }
  json theirs = links->theirs();
  if (request.library == Library::kOpenClip) {
    write_json(made.path() / "open_clip_config.json", theirs, result.files);
  } else {
    if (theirs.contains("preprocessor")) {
      write_json(made.path() / "preprocessor_config.json", theirs["preprocessor"], result.files);
      theirs.erase("preprocessor");
    }
    theirs["dtype"] = "float32";
    write_json(made.path() / "config.json", theirs, result.files);
  }
  made.commit();
  return result;
}

}  // namespace triptych::interop
