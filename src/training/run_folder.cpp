#include "training/run_folder.h"

#include <algorithm>
#include <array>
#include <fstream>
#include <random>
#include <span>
#include <system_error>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/program_identity.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/manifest.h"
#include "checkpoint/owned_folder.h"
#include "report/evaluation_file.h"
#include "report/evaluation_log.h"
#include "report/event_file.h"
#include "report/metrics.h"
#include "report/report.h"
#include "report/run_status.h"
#include "report/trace_file.h"
#include "training/run_checkpoint.h"

namespace triptych::training {
namespace {

namespace fs = std::filesystem;

constexpr const char* kIdentityName = "run.json";
constexpr const char* kInitName = "init.json";
constexpr const char* kConfigName = "config.toml";
constexpr const char* kMetricsName = "metrics.jsonl";
constexpr const char* kEvaluationsName = "evaluations.jsonl";
constexpr const char* kReportName = "report.html";
constexpr const char* kStatusFile = kStatusName.data();
constexpr const char* kEvaluationFile = kEvaluationName.data();
/// What a run that begins anew leaves of an earlier one under another name, or removes if it is to be replaced.
constexpr std::array kTold{kMetricsName, kEvaluationsName, kReportName, kStatusFile, kEvaluationFile, kInitName};
constexpr const char* kCheckpointsName = "checkpoints";
/// TensorBoard reads whatever has "tfevents" in its name.
constexpr const char* kEarlierEventsName = "earlier_events";
constexpr std::string_view kEarlierConfigPrefix = "config_to_step_";
constexpr std::string_view kIdentityFormat = "triptych-run";
/// The first words of every effective config: the documentation of its first key, `task`.
constexpr std::string_view kConfigBegin = "# What the run learns.";
constexpr uint64_t kMaxSmallFile = uint64_t{1} << 20;
constexpr int kMaxEarlierConfigs = 10000;

bool is_there(const fs::path& path) {
  std::error_code error;
  return fs::exists(fs::symlink_status(path, error));
}

// A file's first bytes; nothing if it is no regular file, or a link: what replaces a file would replace the link.
std::optional<std::string> head_of(const fs::path& path, uint64_t max_bytes) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(path, error))) return std::nullopt;
  const File file = File::open_read(path);
  std::string head(std::min(file.size(), max_bytes), '\0');
  file.pread(std::as_writable_bytes(std::span(head)), 0);
  return head;
}

// A string of a run.json; nothing if the file is none.
std::optional<std::string> identity_of(const fs::path& file, const char* key) {
  const std::optional<std::string> text = head_of(file, kMaxSmallFile);
  if (!text) return std::nullopt;
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", nlohmann::json()) != nlohmann::json(kIdentityFormat))
    return std::nullopt;
  const nlohmann::json value = json.value(key, nlohmann::json());
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::optional<std::string> run_id_of(const fs::path& file) {
  return identity_of(file, "run_id");
}

bool begins_with_format(const std::string& head, std::string_view format) {
  return head.starts_with(fmt::format("{{\n \"format\": \"{}\"", format));
}

// Whether a run of ours wrote the file. What is empty has nothing to lose.
bool is_of_ours(const fs::path& path) {
  const std::string name = path.filename().string();
  const std::optional<std::string> head = head_of(path, kMaxSmallFile);
  if (!head) return false;
  if (head->empty()) return true;
  if (name == kIdentityName) return run_id_of(path).has_value();
  if (name == kInitName) return head->find(fmt::format("\"format\": \"{}\"", kInitFormat)) != std::string::npos;
  if (name == kMetricsName || name == kEvaluationsName) {
    const std::size_t end = head->find('\n');  // a line may be torn if it is the last one: "{" is how any JSON begins
    const std::string line = head->substr(0, end);
    const bool begins = name == kMetricsName ? is_metrics_line(line) : is_evaluation_line(line);
    return begins && (end == std::string::npos || line.ends_with('}'));
  }
  if (name == kReportName) return head->starts_with(kReportBegin);
  if (name == kStatusName) return begins_with_format(*head, kStatusFormat);
  if (name == kEvaluationName) return begins_with_format(*head, kEvaluationFormat);
  return head->starts_with(kConfigBegin);
}

// What --trace-from wrote: by its name and how it begins.
bool is_trace_file(const fs::path& path) {
  const std::string name = path.filename().string();
  if (!name.starts_with("trace_") || !name.ends_with(".json") || !fs::is_regular_file(fs::symlink_status(path))) {
    return false;
  }
  std::string head(report::kTraceBegin.size(), '\0');
  std::ifstream(path, std::ios::binary).read(head.data(), static_cast<std::streamsize>(head.size()));
  return head == report::kTraceBegin;
}

// config_to_step_00000010.toml, config_to_step_00000010_2.toml
bool is_earlier_config(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with(kEarlierConfigPrefix) && name.ends_with(".toml") && is_of_ours(path);
}

std::vector<std::string> extra_names() {
  return {std::string(kTokenizerFile)};
}

// What there is in a run's `checkpoints`.
struct Survey {
  std::vector<fs::path> steps;       // of ours, whole or damaged, under the names that a run gives
  std::vector<fs::path> kept;        // whole ones under other names, or by a link: somebody keeps them
  std::vector<std::string> foreign;  // under a run's names, but none of ours: "checkpoints/step_00000010 is a link"
};

Survey survey_checkpoints(const fs::path& folder) {
  Survey survey;
  for (const fs::path& path : list_folder(folder)) {
    const std::string name = path.filename().string();
    const std::string shown = fmt::format("{}/{}", kCheckpointsName, name);
    if (parse_step_folder_name(name) >= 0) {
      const std::string foreign = foreign_content(path, extra_names());
      if (foreign.empty()) {
        survey.steps.push_back(path);
      } else if (is_manifest_of_ours(path / kManifestName)) {
        survey.kept.push_back(path);  // with somebody's file in it, or linked
      } else {
        survey.foreign.push_back(fmt::format("{}, which {}", shown, foreign));
      }
    } else if (name == kLatestName) {
      if (!is_latest_of_ours(path)) survey.foreign.push_back(fmt::format("{}, which names no step of a run", shown));
    } else if (is_manifest_of_ours(path / kManifestName)) {
      survey.kept.push_back(path);  // under `best` too
    }
  }
  return survey;
}

fs::path link_target(const fs::path& path) {
  std::error_code error;
  return fs::is_symlink(fs::symlink_status(path, error)) && fs::is_directory(path, error) ? fs::canonical(path, error)
                                                                                          : fs::path();
}

std::string list_of(const std::vector<std::string>& texts) {
  std::string list;
  for (const std::string& text : texts) list += (list.empty() ? "" : "; ") + text;
  return list;
}

}  // namespace

RunIdentity RunIdentity::make(const std::string& parent) {
  std::random_device device;
  std::string id;
  for (int i = 0; i < 4; ++i) id += fmt::format("{:08x}", device());
  return {.run_id = id,
          .program = std::string(program_version()),
          .host = machine_name(),
          .started = utc_time_text(),
          .parent = parent};
}

RunFolder::RunFolder(fs::path dir) : dir_(std::move(dir)), checkpoints_(dir_ / kCheckpointsName), lock_(dir_) {
  if (const fs::path target = link_target(checkpoints_); !target.empty()) checkpoints_lock_.emplace(target);
  if (const auto id = run_id_of(dir_ / kIdentityName)) run_id_ = *id;
}

std::vector<std::string> RunFolder::notes() const {
  std::vector<std::string> notes;
  if (!lock_.note().empty()) notes.push_back(lock_.note());
  if (checkpoints_lock_ && !checkpoints_lock_->note().empty()) notes.push_back(checkpoints_lock_->note());
  return notes;
}

void RunFolder::require_usable(FolderUse use) const {
  std::vector<std::string> foreign;
  std::vector<std::string> names{kIdentityName, kConfigName};
  names.insert(names.end(), kTold.begin(), kTold.end());
  for (const std::string& name : names) {
    if (is_there(dir_ / name) && !is_of_ours(dir_ / name)) {
      foreign.push_back(fmt::format("{}, which no run of this program wrote", name));
    }
  }
  std::error_code error;
  if (is_there(checkpoints_) && !fs::is_directory(checkpoints_, error)) {
    foreign.push_back(fmt::format("{}, which is no folder", kCheckpointsName));
  }
  const Survey survey = survey_checkpoints(checkpoints_);
  if (use != FolderUse::kGoOn) {  // else a save sets aside what is in its way
    foreign.insert(foreign.end(), survey.foreign.begin(), survey.foreign.end());
  }
  if (!foreign.empty()) {
    throw UserError(dir_.string(),
                    fmt::format("what a run writes must not replace what is not its own, found {}. Nothing was "
                                "changed. Move that away, or choose another run.dir",
                                list_of(foreign)));
  }
  if (use != FolderUse::kNew) return;
  if (!survey.steps.empty()) {
    throw UserError(dir_.string(),
                    "holds a run already. Go on with `--resume latest`, choose another run.dir, or "
                    "replace it with `--overwrite`");
  }
  if (!survey.kept.empty()) {
    throw UserError(dir_.string(),
                    fmt::format("holds a checkpoint of a run already, {}. Go on from it with `--resume {}`, choose "
                                "another run.dir, or begin another run beside it with `--overwrite`, which leaves it "
                                "where it is",
                                survey.kept.front().filename().string(), survey.kept.front().string()));
  }
}

// By name, and by content: links, folders of others and checkpoints that were given another name stay.
void RunFolder::remove_run() const {
  std::vector<fs::path> files;
  if (is_there(checkpoints_)) {
    files.push_back(checkpoints_ / kLatestName);  // first: it must not name what is half gone
    std::vector<std::string> ignored;
    write_best(checkpoints_, -1, ignored);
    remove_leftovers(checkpoints_, extra_names());
  }
  for (const char* name : kTold) files.push_back(dir_ / name);
  for (const char* name : {kConfigName, kIdentityName}) files.push_back(dir_ / name);
  for (const fs::path& path : list_folder(dir_)) {
    if (is_earlier_config(path) || is_event_file(path) || is_trace_file(path)) files.push_back(path);
  }
  for (const fs::path& file : files) {
    std::error_code error;
    fs::remove(file, error);
    if (error) throw WorldError(file.string(), fmt::format("cannot remove it ({})", error.message()));
  }
  for (const fs::path& step : survey_checkpoints(checkpoints_).steps) remove_owned(step, extra_names());
}

// Under a name of its own, unless a file with this text has that name already.
std::vector<std::string> RunFolder::keep_config(const std::string& text, int64_t step) const {
  for (int number = 1; number <= kMaxEarlierConfigs; ++number) {
    const std::string name =
        fmt::format("{}{:08}{}.toml", kEarlierConfigPrefix, step, number == 1 ? "" : fmt::format("_{}", number));
    if (!is_there(dir_ / name)) {
      write_file_atomically(dir_ / name, text);
      return {fmt::format("the config of the steps to {} is kept as {}", step, (dir_ / name).string())};
    }
    if (head_of(dir_ / name, kMaxSmallFile) == text) return {};
  }
  throw WorldError(dir_.string(),
                   fmt::format("holds too many files {}{:08}_*.toml. Move some away", kEarlierConfigPrefix, step));
}

std::vector<std::string> RunFolder::begin(FolderUse use, const std::string& config, const std::string& parent,
                                          const std::optional<EarlierConfig>& then) {
  std::vector<std::string> told;
  const auto add = [&](std::vector<std::string> notes) { told.insert(told.end(), notes.begin(), notes.end()); };
  if (use == FolderUse::kOverwrite) remove_run();
  fs::create_directories(checkpoints_);
  if (use != FolderUse::kGoOn) {
    run_id_.clear();
    // Of a run that ended before its first checkpoint, or whose checkpoints somebody moved away.
    for (const char* name : kTold) {
      if (is_there(dir_ / name) && !fs::is_empty(dir_ / name)) told.push_back(set_aside(dir_ / name));
    }
    for (const fs::path& path : list_folder(dir_)) {
      if (is_event_file(path)) told.push_back(set_aside(path, kEarlierEventsName));
    }
  }
  if (run_id_.empty()) {  // a new run, or one of before there was a run.json
    const RunIdentity identity = RunIdentity::make(parent);
    run_id_ = identity.run_id;
    const nlohmann::ordered_json json{{"format", kIdentityFormat},   {"version", 1},
                                      {"run_id", identity.run_id},   {"program", identity.program},
                                      {"compiler", compiler_text()}, {"host", identity.host},
                                      {"started", identity.started}, {"parent", identity.parent}};
    write_file_atomically(dir_ / kIdentityName, json.dump(1) + "\n");
  }
  const fs::path path = dir_ / kConfigName;
  if (then && then->is_changed) add(keep_config(then->config, then->step));
  // What is there may say more than the checkpoint's: what steps used that are given up now, or somebody's notes.
  const std::optional<std::string> there = head_of(path, kMaxSmallFile);
  if (there && !there->empty() && *there != config && !(then && *there == then->config)) {
    add(keep_config(*there, then ? then->step : 0));
  }
  write_file_atomically(path, config);
  return told;
}

void RunFolder::write_init(const std::string& json) const {
  write_file_atomically(dir_ / kInitName, json);
}

std::string started_of_run(const fs::path& dir) {
  return identity_of(dir / kIdentityName, "started").value_or("");
}

void require_report_of_ours(const fs::path& dir) {
  for (const char* name : {kReportName, kStatusFile, kEvaluationFile}) {
    if (!is_there(dir / name) || is_of_ours(dir / name)) continue;
    throw UserError((dir / name).string(),
                    "a run's report must not replace what no run of this program wrote. Move it away, or set run.dir");
  }
}

}  // namespace triptych::training
