#include "checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <exception>
#include <system_error>
#include <utility>

#include <fcntl.h>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/manifest.h"
#include "checkpoint/owned_folder.h"

namespace triptych::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStepPrefix = "step_";
constexpr std::string_view kTemporarySuffix = ".tmp";
constexpr std::string_view kReplacedSuffix = ".replaced";
constexpr std::size_t kMaxStepsShown = 8;

bool is_digits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

int64_t parse_step(std::string_view digits) {
  int64_t step = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), step);
  return is_digits(digits) && error == std::errc{} && end == digits.data() + digits.size() ? step : -1;
}

bool has_manifest(const fs::path& folder) {
  std::error_code error;
  const fs::file_type type = fs::status(folder / kManifestName, error).type();
  if (type == fs::file_type::none) {
    throw WorldError((folder / kManifestName).string(), fmt::format("cannot be looked at ({})", error.message()));
  }
  return type == fs::file_type::regular;
}

/// True if a file could be `latest` on its way: a beginning of the line that names a step.
bool is_begun_latest(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error)) || fs::file_size(file, error) > kMaxLatestBytes)
    return false;
  const std::string text = read_text_file(file, kMaxLatestBytes);
  return std::string_view(kStepPrefix).starts_with(text) || text.starts_with(kStepPrefix);
}

/// "Steps there: 10, 20." for the end of a message.
std::string describe_steps(const fs::path& folder) {
  std::vector<int64_t> steps;
  try {
    steps = list_steps(folder);
  } catch (const Error& error) {
    return fmt::format("Which steps are there is not known: {}.", error.what());
  }
  if (steps.empty()) return "No step has been saved there.";
  std::string text;
  const std::size_t first = steps.size() - std::min(steps.size(), kMaxStepsShown);
  for (std::size_t i = first; i < steps.size(); ++i) text += fmt::format("{}{}", i == first ? "" : ", ", steps[i]);
  return fmt::format("Steps there: {}{}.", first == 0 ? "" : "..., ", text);
}

fs::path resolve_step(const fs::path& folder, int64_t step) {
  fs::path path = folder / step_folder_name(step);
  if (!has_manifest(path)) {
    throw UserError(folder.string(),
                    fmt::format("must hold a checkpoint of step {}, found none. {}", step, describe_steps(folder)));
  }
  return path;
}

// A save that was killed between its two renames left a checkpoint one newer than `latest` says: that one. More cannot
// have happened (name_killed_save), so then `latest` was changed or damaged, and going on from there would replace what
// came after.
fs::path newest_if_next(const fs::path& latest, const fs::path& folder, const std::string& named) {
  const int64_t own = read_save_number(folder / named / kManifestName);
  if (own == 0) return folder / named;
  const std::vector<SavedStep> saves = list_saves(folder);
  for (auto save = saves.rbegin(); save != saves.rend() && save->save_number > own; ++save) {
    const std::string name = step_folder_name(save->step);
    try {
      static_cast<void>(read_manifest(folder / name / kManifestName));
    } catch (const Error&) {
      continue;  // its number may be the damage
    }
    if (save->save_number == own + 1) return folder / name;
    throw WorldError(
        latest.string(),
        fmt::format("must name the checkpoint that was saved last, found {}, and {} was saved after it; the "
                    "file is damaged or was changed. Name the step that is meant instead of `latest`. {}",
                    named, name, describe_steps(folder)));
  }
  return folder / named;
}

// What `latest` or `best` names: a committed step.
std::string named_step(const fs::path& file) {
  std::string text = read_text_file(file, kMaxLatestBytes);
  if (!text.empty() && text.back() == '\n') text.pop_back();
  const fs::path folder = file.parent_path();
  const std::string own = file.filename().string();
  if (parse_step_folder_name(text) < 0) {
    std::string shown = text.substr(0, 40);
    std::replace_if(
        shown.begin(), shown.end(), [](char c) { return c < ' ' || c > '~'; }, '?');
    throw WorldError(file.string(), fmt::format("must name a step's folder, found \"{}\"; the file is damaged. Name a "
                                                "step instead of `{}`. {}",
                                                shown, own, describe_steps(folder)));
  }
  if (!has_manifest(folder / text)) {
    throw WorldError(file.string(), fmt::format("must name a checkpoint that exists, found {}, which is gone or has no "
                                                "manifest. Name a step instead of `{}`. {}",
                                                text, own, describe_steps(folder)));
  }
  return text;
}

fs::path resolve_latest(const fs::path& file) {
  return newest_if_next(file, file.parent_path(), named_step(file));
}

fs::path resolve_best(const fs::path& folder) {
  const fs::path file = folder / kBestName;
  std::error_code error;
  if (fs::is_regular_file(file, error)) return folder / named_step(file);
  if (fs::is_directory(file, error)) return resolve_checkpoint(file);  // somebody's own
  throw UserError(folder.string(),
                  fmt::format("must hold the file `best`, found none: it is written where the config has "
                              "evaluation.every and evaluation.best, once an evaluation of the run has found one. "
                              "Name a step. {}",
                              describe_steps(folder)));
}

// Makes a file of ours hold a text. What is none of ours is set aside.
void write_pointer(const fs::path& file, const std::string& text, std::vector<std::string>& warnings) {
  if (is_latest_of_ours(file)) {
    if (read_text_file(file, kMaxLatestBytes) == text) return;
  } else if (fs::exists(fs::symlink_status(file))) {
    warnings.push_back(set_aside(file));
  }
  write_file_atomically(file, text);
}

}  // namespace

std::string step_folder_name(int64_t step) {
  return fmt::format("{}{:08}", kStepPrefix, step);
}

int64_t parse_step_folder_name(std::string_view name) {
  if (!name.starts_with(kStepPrefix)) return -1;
  const int64_t step = parse_step(name.substr(kStepPrefix.size()));
  return step >= 0 && step_folder_name(step) == name ? step : -1;
}

std::vector<int64_t> list_steps(const fs::path& folder) {
  std::vector<int64_t> steps;
  for (const fs::path& path : list_folder(folder)) {
    const int64_t step = parse_step_folder_name(path.filename().string());
    if (step >= 0 && has_manifest(path)) steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<SavedStep> list_saves(const fs::path& folder) {
  std::vector<SavedStep> saves;
  for (const int64_t step : list_steps(folder)) {
    saves.push_back({step, read_save_number(folder / step_folder_name(step) / kManifestName)});
  }
  std::sort(saves.begin(), saves.end(), [](const SavedStep& a, const SavedStep& b) {
    return std::pair(a.save_number, a.step) < std::pair(b.save_number, b.step);
  });
  return saves;
}

fs::path resolve_checkpoint(const fs::path& path) {
  std::error_code error;
  if (fs::is_directory(path, error)) {
    if (has_manifest(path)) return path;
    if (fs::is_regular_file(path / kLatestName, error)) return resolve_latest(path / kLatestName);
    if (!list_steps(path).empty()) {
      throw WorldError(path.string(), fmt::format("must hold the file `latest`, found none. Name a step instead. {}",
                                                  describe_steps(path)));
    }
    throw UserError(path.string(),
                    "must be a checkpoint or a folder of checkpoints, found neither a manifest.json nor `latest` in "
                    "it. Check the path; nothing has been saved there.");
  }
  if (fs::is_regular_file(path, error)) {
    if (path.filename() == kManifestName) return path.parent_path();
    if (path.filename() == kLatestName) return resolve_latest(path);
    if (path.filename() == kBestName) return path.parent_path() / named_step(path);
    throw UserError(
        path.string(),
        "must be a step's folder, its manifest.json, a folder of checkpoints or the `latest` or `best` in one, "
        "found another file. Check the path.");
  }
  if (path.filename() == kLatestName && fs::is_directory(path.parent_path(), error)) {
    return resolve_checkpoint(path.parent_path());  // says what is there instead
  }
  throw UserError(path.string(), "a checkpoint must be there, found nothing. Check the path.");
}

fs::path resolve_checkpoint(const fs::path& folder, std::string_view which) {
  if (which.empty() || which == kLatestName) return resolve_checkpoint(folder);
  if (which == kBestName) return resolve_best(folder);
  const int64_t step = is_digits(which) ? parse_step(which) : parse_step_folder_name(which);
  if (step >= 0) return resolve_step(folder, step);
  return resolve_checkpoint(fs::path(which));
}

void move_into_place(const fs::path& temporary, const fs::path& final_folder, std::span<const std::string> extra_names,
                     std::vector<std::string>& warnings, bool may_exchange) {
  const auto rename = [](const fs::path& from, const fs::path& to) {
    if (::rename(from.c_str(), to.c_str()) == 0) return;
    throw WorldError(to.string(), fmt::format("cannot rename {} to it ({})", from.string(), describe_errno(errno)));
  };
  const auto remove_replaced = [&](const fs::path& old) {  // the new one is in place: no error any more
    try {
      remove_owned(old, extra_names);
    } catch (const std::exception& error) {
      warnings.push_back(fmt::format("{}.", error.what()));
    }
  };
  if (!fs::exists(fs::symlink_status(final_folder))) return rename(temporary, final_folder);
  if (!foreign_content(final_folder, extra_names).empty()) {
    warnings.push_back(set_aside(final_folder));
    return rename(temporary, final_folder);
  }
  if (may_exchange && ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, final_folder.c_str(), RENAME_EXCHANGE) == 0) {
    return remove_replaced(temporary);
  }
  const fs::path replaced = final_folder.string() + std::string(kReplacedSuffix);
  if (fs::exists(fs::symlink_status(replaced))) warnings.push_back(set_aside(replaced));  // leftovers are gone by now
  rename(final_folder, replaced);
  rename(temporary, final_folder);
  remove_replaced(replaced);
}

void write_latest(const fs::path& folder, int64_t step, std::vector<std::string>& warnings) {
  write_pointer(folder / kLatestName, step_folder_name(step) + "\n", warnings);
}

void write_best(const fs::path& folder, int64_t step, std::vector<std::string>& warnings) {
  const fs::path best = folder / kBestName;
  if (step >= 0) return write_pointer(best, step_folder_name(step) + "\n", warnings);
  if (is_latest_of_ours(best)) fs::remove(best);
}

int64_t best_step(const fs::path& folder) {
  try {
    return is_latest_of_ours(folder / kBestName) ? parse_step_folder_name(named_step(folder / kBestName)) : -1;
  } catch (const Error&) {
    return -1;
  }
}

void name_killed_save(const fs::path& folder, std::vector<std::string>& warnings) {
  if (!is_latest_of_ours(folder / kLatestName)) return;
  fs::path last;
  try {
    last = resolve_latest(folder / kLatestName);
  } catch (const Error&) {
    return;  // damaged: the save's own replaces it
  }
  write_latest(folder, parse_step_folder_name(last.filename().string()), warnings);
}

void remove_leftovers(const fs::path& folder, std::span<const std::string> extra_names) {
  for (const fs::path& path : list_folder(folder)) {
    const std::string name = path.filename().string();
    const std::size_t dot = name.find('.');
    if (dot == std::string::npos) continue;
    const std::string_view stem = std::string_view(name).substr(0, dot), suffix = std::string_view(name).substr(dot);
    const bool is_step = parse_step_folder_name(stem) >= 0;
    if ((stem == kLatestName || stem == kBestName) && suffix.starts_with(kTemporarySuffix) &&
        is_digits(suffix.substr(kTemporarySuffix.size()))) {
      if (is_begun_latest(path)) fs::remove(path);
    } else if (is_step && suffix == kReplacedSuffix && !fs::exists(fs::symlink_status(folder / stem))) {
      if (has_manifest(path)) fs::rename(path, folder / stem);
    } else if (is_step && (suffix == kTemporarySuffix || suffix == kReplacedSuffix)) {
      if (foreign_content(path, extra_names).empty()) remove_owned(path, extra_names);
    }
  }
}

std::vector<std::string> remove_old(const fs::path& folder, int64_t newest_step, int64_t keep,
                                    std::span<const std::string> extra_names, std::vector<std::string>& warnings) {
  std::vector<std::string> removed;
  if (keep <= 0) return removed;
  std::vector<std::string> others;  // oldest save first
  try {
    const int64_t best = best_step(folder);
    for (const SavedStep& saved : list_saves(folder)) {
      const std::string name = step_folder_name(saved.step);
      if (saved.step != newest_step && saved.step != best && !fs::is_symlink(fs::symlink_status(folder / name)))
        others.push_back(name);
    }
  } catch (const std::exception& error) {  // the new one is saved
    warnings.push_back(fmt::format("old checkpoints are kept beyond checkpoint.keep: {}.", error.what()));
    return removed;
  }
  const std::size_t num_kept = std::min(others.size(), static_cast<std::size_t>(keep - 1));
  for (std::size_t i = 0; i + num_kept < others.size(); ++i) {
    const fs::path path = folder / others[i];
    const fs::path hidden = path.string() + std::string(kTemporarySuffix);
    if (const std::string foreign = foreign_content(path, extra_names); !foreign.empty()) {
      warnings.push_back(
          fmt::format("[{}] is kept beyond checkpoint.keep: it {}. Remove it by hand if it is not wanted.",
                      path.string(), foreign));
      continue;
    }
    try {
      fs::rename(path, hidden);
      remove_owned(hidden, extra_names);
      removed.push_back(others[i]);
    } catch (const std::exception& error) {
      warnings.push_back(fmt::format("[{}] the old checkpoint could not be removed: {}. Remove it by hand.",
                                     path.string(), error.what()));
    }
  }
  return removed;
}

}  // namespace triptych::checkpoint
