#include "training/run_report.h"

#include <algorithm>
#include <map>
#include <set>
#include <system_error>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/manifest.h"
#include "config/config_difference.h"
#include "report/evaluation_log.h"
#include "training/data_config.h"
#include "training/run_folder.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = uint64_t{1} << 20;

bool is_file(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

// "runs/a/" -> "a"
std::string name_of(const fs::path& folder) {
  const fs::path path = fs::absolute(folder).lexically_normal();
  return (path.has_filename() ? path.filename() : path.parent_path().filename()).string();
}

// Of a run of before there was a status.json: what its newest checkpoint says.
std::vector<std::pair<std::string, std::string>> facts_of_checkpoint(const fs::path& folder) {
  const fs::path checkpoints = folder / "checkpoints";
  std::error_code error;
  if (!fs::is_directory(checkpoints, error)) return {};
  const std::vector<SavedStep> saves = list_saves(checkpoints);
  if (saves.empty()) return {};
  const fs::path step_folder = checkpoints / step_folder_name(saves.back().step);
  const Manifest manifest = read_manifest(step_folder / kManifestName);
  std::string mesh;
  for (const auto& [axis, size] : manifest.run.mesh)
    mesh += fmt::format("{}{} {}", mesh.empty() ? "" : " x ", axis, size);
  return {{"mesh", mesh}, {"newest checkpoint", step_folder.string()}};
}

// "unseen style: text to image recall@1" -> the set and the rest; a name of another form is of no set.
std::pair<std::string, std::string> split_name(const std::string& name) {
  const std::size_t colon = name.find(": ");
  if (colon == std::string::npos) return {"held-out", name};
  return {name.substr(0, colon), name.substr(colon + 2)};
}

std::string text_of_sources(const DataOptions& data) {
  const std::vector<DataSource> sources = data_sources(data);
  if (sources.size() == 1) return sources.front().path;
  std::string text;
  for (const DataSource& source : sources) {
    text += fmt::format("{}{} (weight {:g})", text.empty() ? "" : ", ", source.path, source.weight);
  }
  return text;
}

}  // namespace

std::vector<std::pair<std::string, std::string>> report_facts(const RunConfig& config, int64_t parameters,
                                                              uint64_t samples, const std::vector<std::string>& hosts) {
  const std::set<std::string> machines(hosts.begin(), hosts.end());
  std::string ranks = fmt::format("{} on ", hosts.size());
  if (machines.size() > 4) {
    ranks += fmt::format("{} machines, the first {}", machines.size(), hosts.front());
  } else {
    for (const std::string& machine : machines) ranks += (machine == *machines.begin() ? "" : ", ") + machine;
  }
  return {{"parameters", std::to_string(parameters)},
          {"mesh", mesh_text(config.parallel)},
          {"ranks", ranks},
          {"schedule", fmt::format("{}, {} microbatches", config.parallel.schedule, config.parallel.microbatches)},
          {"device", config.run.device},
          {"precision", std::string(precision_name(config.training.precision))},
          {"global batch", std::to_string(config.training.global_batch)},
          {"data", fmt::format("{}, {} samples", text_of_sources(config.data), samples)}};
}

ReportInput read_run(const fs::path& folder) {
  ReportInput input;
  input.title = name_of(folder);
  input.status = read_status(folder);
  input.evaluation = read_evaluation(folder);
  const bool has_metrics = is_file(folder / "metrics.jsonl");
  if (!input.status && !input.evaluation && !has_metrics) {
    throw UserError(
        folder.string(),
        "must be the folder of a run (run.dir), found no metrics.jsonl, status.json or evaluation.json in it. "
        "Name one that `triptych train` or `triptych eval` wrote");
  }
  if (has_metrics) for_each_metrics(folder / "metrics.jsonl", [&](const StepMetrics& line) { input.curves.add(line); });
  for (const EvaluationLine& line : read_evaluations(folder / "evaluations.jsonl")) add_held_out(input.curves, line);
  if (!input.status) input.facts = facts_of_checkpoint(folder);
  if (is_file(folder / "config.toml")) input.config_toml = read_text_file(folder / "config.toml", kMaxConfigBytes);
  return input;
}

void add_held_out(RunCurves& curves, const EvaluationLine& line) {
  for (const auto& [name, value] : line.metrics) {
    const auto [set, key] = split_name(name);
    curves.add_held_out(line.step, set, key, value);
  }
}

fs::path write_run_report(const fs::path& folder) {
  require_report_of_ours(folder);
  const fs::path path = folder / "report.html";
  write_report(path, read_run(folder));
  return path;
}

void write_evaluation(const RunConfig& config, const EvaluationRecord& evaluation) {
  const fs::path folder = config.run.dir;
  require_report_of_ours(folder);
  fs::create_directories(folder);
  write_file_atomically(folder / kEvaluationName, evaluation_to_json(evaluation));
  write_run_report(folder);
}

std::string compare_runs(const std::vector<fs::path>& folders) {
  if (folders.size() < 2 || folders.size() > kMaxComparedRuns) {
    throw UserError("report", fmt::format("compares 2 to {} runs, found {}. Name so many folders", kMaxComparedRuns,
                                          folders.size()));
  }
  std::vector<ComparedRun> runs;
  std::string title;
  for (const fs::path& folder : folders) {
    ComparedRun run{.name = name_of(folder), .report = read_run(folder)};
    // Runs of one name are told apart by their paths.
    if (std::any_of(runs.begin(), runs.end(), [&](const ComparedRun& other) { return other.name == run.name; })) {
      run.name = folder.string();
    }
    title += (title.empty() ? "" : ", ") + run.name;
    runs.push_back(std::move(run));
  }
  // By key: what each run has; of a key that a run's config of an older version lacks, nothing.
  std::map<std::string, std::vector<std::string>> rows;
  for (std::size_t i = 1; i < runs.size(); ++i) {
    for (const ConfigDifference& difference :
         compare_configs(runs[0].report.config_toml, runs[i].report.config_toml, "")) {
      if (difference.key == "run.dir") continue;
      std::vector<std::string>& values =
          rows.try_emplace(difference.key, std::vector<std::string>(runs.size(), difference.then)).first->second;
      values[i] = difference.now;
    }
  }
  std::vector<ConfigRow> differences;
  for (auto& [key, values] : rows) differences.push_back({key, std::move(values)});
  return render_comparison(title, runs, differences);
}

}  // namespace triptych::training
