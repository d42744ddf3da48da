#include "interop/import_model.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>

#include <fmt/ranges.h>

#include "base/error.h"
#include "base/file.h"
#include "base/name_pattern.h"
#include "checkpoint/checkpoint_writer.h"
#include "interop/new_folder.h"
#include "interop/tensor_files.h"
#include "interop/their_config.h"
#include "parallel/group.h"
#include "text/tokenizer.h"
#include "training/init_names.h"
#include "training/run_checkpoint.h"

namespace triptych::interop {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

using TheirTensors = std::map<std::string, SafetensorsEntry>;

// Where tokenizers lie, the fullest description first.
constexpr std::string_view kTokenizerFiles[] = {"tokenizer.json", "tokenizer.model", "spiece.model",
                                                "bpe_simple_vocab_16e6.txt.gz"};

std::string shape_text(const Dims& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

// In the spelling that the file's names have.
TensorTable table_of(const Family& family, const ModelKeys& ours, const TheirTensors& theirs) {
  for (const std::string_view spelling : family.spellings) {
    TensorTable table = family.tensors(ours, std::string(spelling));
    const bool fits = std::all_of(table.links().begin(), table.links().end(),
                                  [&](const TensorLink& link) { return theirs.contains(link.theirs); });
    if (fits) return table;
  }
  return family.tensors(ours, std::string(family.spellings.front()));
}

// Throws WorldError with what is missing, of another shape, or left over. Notes tell what is left for a reason.
void check_tensors(const TensorTable& table, const TheirTensors& theirs, const std::string& where,
                   std::vector<std::string>& notes) {
  std::set<std::string> known;
  std::vector<std::string> missing, different, extra;
  for (const TensorLink& link : table.links()) {
    if (!known.insert(link.theirs).second) continue;
    const auto found = theirs.find(link.theirs);
    if (found == theirs.end()) {
      missing.push_back(fmt::format("{} {}", link.theirs, shape_text(link.their_shape)));
    } else if (found->second.shape != link.their_shape) {
      different.push_back(
          fmt::format("{} is {}, not {}", link.theirs, shape_text(found->second.shape), shape_text(link.their_shape)));
    }
  }
  for (const auto& [copy, of] : table.copies()) known.insert(copy);
  std::map<std::string, int64_t> left;  // by reason
  for (const auto& [name, entry] : theirs) {
    if (known.contains(name)) continue;
    const auto reason = std::find_if(
        table.left().begin(), table.left().end(),
        [&, &tensor = name](const TensorLeft& one) { return match_pattern(one.pattern, tensor).has_value(); });
    if (reason == table.left().end()) {
      extra.push_back(name);
    } else if (!reason->reason.empty()) {
      ++left[reason->reason];
    }
  }
  std::vector<std::string> problems;
  if (!missing.empty()) problems.push_back("missing " + short_list(missing));
  if (!different.empty()) problems.push_back("of another shape " + short_list(different));
  if (!extra.empty()) problems.push_back("known to nobody here " + short_list(extra));
  if (!problems.empty()) {
    throw WorldError(where, fmt::format("the tensors must be those of the config's model, found\n  {}\nAre config and "
                                        "weights of one model?",
                                        fmt::join(problems, "\n  ")));
  }
  for (const auto& [reason, count] : left) notes.push_back(fmt::format("left out: {} ({} tensors)", reason, count));
}

// Tied matrices may be there twice, and must then be one.
void check_copies(const TensorTable& table, const TensorFiles& files, const std::string& where) {
  constexpr int64_t kSlice = int64_t{1} << 20;
  for (const auto& [copy, of] : table.copies()) {
    const auto a = files.tensors().find(copy), b = files.tensors().find(of);
    if (a == files.tensors().end() || b == files.tensors().end()) continue;
    bool equal = a->second.shape == b->second.shape;
    const int64_t count = volume(a->second.shape);
    std::vector<float> x, y;
    for (int64_t at = 0; equal && at < count; at += kSlice) {
      x.resize(static_cast<std::size_t>(std::min(kSlice, count - at)));
      y.resize(x.size());
      files.read(copy, at, x);
      files.read(of, at, y);
      equal = std::equal(x.begin(), x.end(), y.begin());
    }
    if (!equal) {
      throw WorldError(where, fmt::format("{} must equal {}, which it is tied to; it does not. The model is not one "
                                          "that there is here",
                                          copy, of));
    }
  }
}

// One of our parameters, put together.
void fill(const TensorLink& link, const TensorFiles& files, std::vector<float>& parameter) {
  const std::span<float> part =
      std::span(parameter).subspan(static_cast<std::size_t>(link.our_begin), static_cast<std::size_t>(link.count));
  if (!link.turned) return files.read(link.theirs, link.their_begin, part);
  std::vector<float> whole(part.size());
  files.read(link.theirs, 0, whole);
  const auto rows = static_cast<std::size_t>(link.their_shape[0]),
             columns = static_cast<std::size_t>(link.their_shape[1]);
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) part[j * rows + i] = whole[i * columns + j];
  }
}

fs::path folder_of(const ImportRequest& request) {
  return fs::is_directory(request.from) ? request.from : request.from.parent_path();
}

// The JSON that says what the model is.
fs::path config_file(const ImportRequest& request) {
  const bool is_open_clip = request.library == Library::kOpenClip;
  const fs::path path = !request.model_config.empty()
                            ? request.model_config
                            : folder_of(request) / (is_open_clip ? "open_clip_config.json" : "config.json");
  if (fs::exists(path)) return path;
  throw UserError(path.string(), fmt::format("there is no such file, which says what the model is. Name it with "
                                             "--model-config{}",
                                             is_open_clip ? ": open_clip's own for a model's name is in its folder "
                                                            "model_configs"
                                                          : ""));
}

std::optional<fs::path> tokenizer_file(const ImportRequest& request) {
  if (!request.tokenizer.empty()) {
    if (!fs::is_regular_file(request.tokenizer)) {
      throw UserError(request.tokenizer.string(), "there is no such file. Name the tokenizer's file");
    }
    return request.tokenizer;
  }
  for (const std::string_view name : kTokenizerFiles) {
    if (fs::is_regular_file(folder_of(request) / name)) return folder_of(request) / name;
  }
  return std::nullopt;
}

std::string config_heading(const ImportRequest& request, const Family& family, const fs::path& out) {
  const std::string folder = out.lexically_normal().string();
  return fmt::format(
      "# {} of {}, imported by `triptych import {}`. The weights lie beside this file:\n"
      "#   triptych eval {}/config.toml --checkpoint {} --set 'evaluation.sets=[\"DATA\"]'\n"
      "#   triptych train {}/config.toml --set data.path=DATA      (begins with them: init.from)\n"
      "# Every key of a run follows. Those of [model] are the model's; what says how to train it is Triptych's "
      "default.\n\n",
      family.name, fs::absolute(request.from).lexically_normal().string(), library_name(request.library), folder,
      folder, folder);
}

}  // namespace

ImportResult import_model(const ImportRequest& request, TaskTable tasks) {
  NewFolder made(request.out);
  const TensorFiles files = TensorFiles::open(request.from, request.library);
  const fs::path config_path = config_file(request);
  const json config = read_their_config(request.library, config_path, folder_of(request));
  const Family& family = family_of(request.library, config, config_path.string());
  ConfigLinks links(config, config_path.string());
  family.link_config(links);
  links.finish();
  ImportResult result{
      .family = std::string(family.name), .config = request.out / "config.toml", .notes = links.notes()};

  const std::optional<fs::path> tokenizer_path = tokenizer_file(request);
  ModelKeys keys = links.ours();
  const fs::path folder = fs::absolute(request.out).lexically_normal();
  const std::string name = folder.filename().empty() ? folder.parent_path().filename() : folder.filename();
  keys.set("run.dir", "runs/" + name);
  keys.set("init.from", folder.string());
  if (tokenizer_path) keys.set("data.tokenizer", (folder / tokenizer_path->filename()).string());
  const RunConfig run = parse_run_config(keys.to_toml(), config_path.string(), tasks);

  const std::string where = request.from.string();
  const TensorTable table = table_of(family, links.ours(), files.tensors());
  check_tensors(table, files.tensors(), where, result.notes);
  check_copies(table, files, where);

  std::map<std::string, std::vector<float>> parameters;
  std::vector<TensorPiece> pieces;
  for (const TensorLink& link : table.links()) {
    const auto [found, is_new] = parameters.try_emplace(link.ours, static_cast<std::size_t>(volume(link.our_shape)));
    if (is_new) {
      TensorPiece& piece = pieces.emplace_back();
      piece.name = link.ours;
      piece.dtype = DType::kFloat32;
      piece.global_shape = piece.shape = link.our_shape;
      piece.begin.assign(link.our_shape.size(), 0);
      piece.data = reinterpret_cast<const std::byte*>(found->second.data());
      result.num_parameters += volume(link.our_shape);
    }
    fill(link, files, found->second);
  }

  std::shared_ptr<const Tokenizer> tokenizer;
  if (tokenizer_path && run.task->vocabulary() > 0) {
    tokenizer = Tokenizer::from_file(*tokenizer_path);
    tokenizer->check_fits(run.task->vocabulary());
  } else if (run.task->vocabulary() > 0) {
    result.notes.emplace_back(
        "there is no tokenizer beside the weights: the checkpoint has none, and can be begun with "
        "but not evaluated. Name one with --tokenizer");
  }
  const RunState state{
      .model = run.task->model().fingerprint, .config = run.effective_toml, .mesh = {{"pp", 1}, {"dp", 1}, {"tp", 1}}};
  const std::unique_ptr<Group> self = make_self_group("import");
  CheckpointWriter writer(made.path(), 0, *self);
  const fs::path saved = writer.save(state, pieces, extra_files(tokenizer.get())).folder;
  result.checkpoint = request.out / saved.filename();
  if (tokenizer_path) {
    write_file_atomically(made.path() / tokenizer_path->filename(),
                          read_text_file(*tokenizer_path, kMaxTokenizerBytes));
  }
  write_file_atomically(made.path() / result.config.filename(),
                        config_heading(request, family, request.out) + run.effective_toml);
  made.commit();
  return result;
}

}  // namespace triptych::interop
