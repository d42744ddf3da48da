#include "training/init_from.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <set>
#include <sstream>
#include <system_error>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_folder.h"
#include "nn/positions.h"
#include "parallel/agreement.h"
#include "training/finite.h"
#include "training/run_checkpoint.h"
#include "training/run_folder.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMostDifferences = 5;

std::vector<std::string> parameters_in(const Manifest& manifest) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : manifest.tensors) {
    if (!is_of_optimizer(manifest, name)) names.push_back(name);
  }
  return names;
}

// The square grid of so many rows, `first` of them in front of it, if they are one.
std::optional<PositionGrid> square_grid(int64_t first, int64_t rows) {
  const auto side =
      static_cast<int64_t>(std::lround(std::sqrt(static_cast<double>(std::max<int64_t>(0, rows - first)))));
  if (side == 0 || side * side != rows - first) return std::nullopt;
  return PositionGrid{.sequence = rows, .side = side};
}

// One parameter of this rank, and the tensor that it is to be.
struct Source {
  Parameter* parameter;
  std::string tensor;
  std::vector<int64_t> shape;
  std::optional<PositionGrid> grid;  // of the tensor, where it is to be interpolated
};

// What to read on this rank. Throws UserError with all shapes that do not fit.
std::vector<Source> sources_of_parameters(const CheckpointReader& reader, const InitOptions& options,
                                          const InitNames& names, Session& session) {
  std::vector<Source> sources;
  std::vector<std::string> differences;
  bool has_other_grid = false;
  for (Parameter* parameter : session.store().all()) {
    const auto found = names.taken.find(parameter->name);
    if (found == names.taken.end()) continue;
    const Manifest& manifest = reader.manifest();
    Source source{.parameter = parameter,
                  .tensor = saved_name(manifest, found->second, options.weights),
                  .shape = manifest.tensors.at(found->second).shape,
                  .grid = std::nullopt};
    const std::vector<int64_t> wanted = parameter->global_shape.to_vector();
    if (source.shape != wanted) {
      const bool is_grid = parameter->grid && source.shape.size() == 2 && source.shape[1] == wanted[1];
      if (is_grid) source.grid = square_grid(parameter->grid->first(), source.shape[0]);
      has_other_grid = has_other_grid || (source.grid && !options.interpolate_positions);
      if (!source.grid || !options.interpolate_positions) {
        differences.push_back(fmt::format("{} is {} in the checkpoint, {} of the model {}", found->second,
                                          format_shape(source.shape), parameter->name, format_shape(wanted)));
      }
    }
    sources.push_back(std::move(source));
  }
  if (differences.empty()) return sources;
  std::string list;
  for (std::size_t i = 0; i < std::min(differences.size(), kMostDifferences); ++i) list += "\n  " + differences[i];
  if (differences.size() > kMostDifferences)
    list += fmt::format("\n  and {} more", differences.size() - kMostDifferences);
  throw UserError(
      reader.folder().string(),
      fmt::format(
          "what is taken must have the shape that it has in the model, found:{}\n{}Use the sizes of that model, "
          "or leave it out: [[init.map]] with `old` its name and `new` empty",
          list, has_other_grid ? "Set init.interpolate_positions = true to resize positions of another grid. " : ""));
}

void read_interpolated(CheckpointReader& reader, const Source& source, const Mesh& mesh) {
  Parameter& parameter = *source.parameter;
  std::vector<float> rows(static_cast<std::size_t>(source.shape[0] * source.shape[1]));
  reader.read(whole_tensor(source.tensor, DType::kFloat32, source.shape), reinterpret_cast<std::byte*>(rows.data()));
  const std::vector<float> resized = interpolate_positions(rows, *source.grid, *parameter.grid, source.shape[1]);
  Shape begin;
  const Shape local = local_shape(parameter.global_shape, parameter.kept, mesh, &begin);
  Tensor piece = Tensor::from<float>(parameter.value.device(), parameter.global_shape, resized);
  for (int dim = 0; dim < local.rank(); ++dim) piece = piece.slice(dim, begin[dim], local[dim]);
  parameter.value.copy_from(piece);
}

// Each rank's names, once, in order. Collective; no name has a space.
std::vector<std::string> gather_names(Group& group, const std::vector<std::string>& mine) {
  std::string text;
  for (const std::string& name : mine) text += name + "\n";
  std::set<std::string> all;
  for (const std::string& of_rank : group.all_gather_string(text)) {
    std::istringstream words(of_rank);
    for (std::string name; words >> name;) all.insert(name);
  }
  return {all.begin(), all.end()};
}

}  // namespace

fs::path checkpoint_to_begin_with(const std::string& from) {
  const fs::path path = from, of_run = path / "checkpoints";
  std::error_code error;
  return resolve_checkpoint(fs::is_directory(of_run, error) ? of_run : path);
}

InitRecord take_parameters(CheckpointReader& reader, const InitOptions& options, Session& session) {
  Group& world = session.mesh().world();
  InitRecord record{.from = reader.folder(),
                    .step = reader.manifest().run.step,
                    .weights = options.weights,
                    .names = {},
                    .interpolated = {}};
  std::vector<std::string> interpolated;
  together(world, [&] {
    if (options.weights == SavedWeights::kAverage) require_averages(reader);
    std::vector<std::string> names;
    for (const PlacedParameter& one : session.executor().parameters()) names.push_back(one.name);
    record.names = match_names(options.map, names, parameters_in(reader.manifest()));
    if (record.names.taken.empty()) {
      throw UserError(reader.folder().string(),
                      fmt::format("must have a parameter of this model, found none of {}. Its own are {}. Say with "
                                  "[[init.map]] which is which",
                                  short_list(record.names.fresh), short_list(record.names.left)));
    }
    for (const Source& source : sources_of_parameters(reader, options, record.names, session)) {
      if (source.grid) {
        read_interpolated(reader, source, session.mesh());
        interpolated.push_back(source.parameter->name);
      } else {
        read_into(reader, box_of(*source.parameter, session.mesh(), source.tensor), source.parameter->value);
      }
    }
    session.store().refresh_compute_copies();
    require_finite_model(first_not_finite(session), reader.folder());
  });
  record.interpolated = gather_names(world, interpolated);
  return record;
}

std::vector<std::string> InitRecord::notes() const {
  std::vector<std::string> taken;
  for (const auto& [name, old_name] : names.taken) taken.push_back(name);
  std::vector<std::string> lines{
      fmt::format("begins with {} of {} (step {})", weights == SavedWeights::kAverage ? "averaged weights" : "weights",
                  from.string(), step),
      "  taken " + short_list(taken), "  new " + short_list(names.fresh), "  left " + short_list(names.left)};
  if (!interpolated.empty()) lines.push_back("  interpolated to another grid " + short_list(interpolated));
  return lines;
}

std::string InitRecord::to_json() const {
  nlohmann::ordered_json taken;
  for (const auto& [name, old_name] : names.taken) taken[name] = old_name;
  const nlohmann::ordered_json json{{"format", kInitFormat},
                                    {"version", 1},
                                    {"from", fs::absolute(from).string()},
                                    {"step", step},
                                    {"weights", weights == SavedWeights::kAverage ? "ema" : "last"},
                                    {"taken", taken},
                                    {"new", names.fresh},
                                    {"left", names.left},
                                    {"interpolated", interpolated}};
  return json.dump(1) + "\n";
}

}  // namespace triptych::training
