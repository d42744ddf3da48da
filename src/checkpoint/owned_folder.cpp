#include "checkpoint/owned_folder.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <set>
#include <string_view>
#include <system_error>
#include <vector>

#include <fcntl.h>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/checkpoint_folder.h"
#include "checkpoint/manifest.h"

namespace triptych::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr int kMaxAside = 10000;

bool is_rank_file(std::string_view name) {
  constexpr std::string_view kPrefix = "rank_", kSuffix = ".safetensors";
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix) || name.size() < kPrefix.size() + kSuffix.size() + 5) {
    return false;
  }
  name.remove_prefix(kPrefix.size());
  name.remove_suffix(kSuffix.size());
  return std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// The files that the manifest of a folder lists. None if it is damaged.
std::set<std::string> files_of_manifest(const fs::path& manifest) {
  std::set<std::string> names;
  try {
    for (const ManifestFile& file : read_manifest(manifest).files) names.insert(file.name);
  } catch (const Error&) {
  }
  return names;
}

// What `foreign_content` says; `owned` gets what it looked at and found to be ours.
std::string look_through(const fs::path& folder, std::span<const std::string> extra_names,
                         std::vector<fs::path>& owned) {
  std::error_code error;
  const fs::file_status status = fs::symlink_status(folder, error);
  if (fs::is_symlink(status)) return "is a link";
  if (!fs::is_directory(status)) return "is no folder";
  const fs::path manifest = folder / kManifestName;
  std::set<std::string> known(extra_names.begin(), extra_names.end());
  if (fs::exists(fs::symlink_status(manifest, error))) {
    if (!is_manifest_of_ours(manifest)) return "holds a manifest.json that no save wrote, or that cannot be read";
    known.insert(std::string(kManifestName));
    known.merge(files_of_manifest(manifest));
  }
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const fs::file_status entry = it->symlink_status(error);
    const bool is_ours = fs::is_directory(entry)
                             ? fs::is_empty(it->path(), error)
                             : fs::is_regular_file(entry) && (is_rank_file(name) || known.contains(name));
    if (!is_ours) return fmt::format("holds {}, which no save wrote", name);
    owned.push_back(it->path());
  }
  return error ? fmt::format("cannot be read ({})", error.message()) : "";
}

}  // namespace

std::string foreign_content(const fs::path& folder, std::span<const std::string> extra_names) {
  std::vector<fs::path> owned;
  return look_through(folder, extra_names, owned);
}

void remove_owned(const fs::path& folder, std::span<const std::string> extra_names) {
  std::vector<fs::path> paths;
  if (const std::string foreign = look_through(folder, extra_names, paths); !foreign.empty()) {
    throw WorldError(folder.string(), fmt::format("is not removed: it {}. Move it away", foreign));
  }
  const auto is_manifest = [](const fs::path& path) { return path.filename() == kManifestName; };
  std::partition(paths.begin(), paths.end(), [&](const fs::path& path) { return !is_manifest(path); });
  paths.push_back(folder);
  for (const fs::path& path : paths) {
    std::error_code error;
    fs::remove(path, error);  // one file or empty folder: what came meanwhile stays
    if (error) throw WorldError(path.string(), fmt::format("cannot remove it ({})", error.message()));
  }
}

bool is_latest_of_ours(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(fs::symlink_status(file, error))) return false;
  if (fs::file_size(file, error) > kMaxLatestBytes || error) return false;
  std::string text = read_text_file(file, kMaxLatestBytes);
  if (std::all_of(text.begin(), text.end(), [](char c) { return c == '\0'; })) return true;
  if (text.back() == '\n') text.pop_back();
  return parse_step_folder_name(text) >= 0;
}

std::string set_aside(const fs::path& path, const std::string& name) {
  const std::string base = (name.empty() ? path : path.parent_path() / name).string();
  for (int number = 1; number <= kMaxAside; ++number) {
    const fs::path aside = base + (number == 1 ? ".aside" : fmt::format(".aside{}", number));
    int result = ::renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, aside.c_str(), RENAME_NOREPLACE);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {  // a file system without it, such as NFS
      std::error_code error;
      if (fs::exists(fs::symlink_status(aside, error))) continue;
      result = ::rename(path.c_str(), aside.c_str());
    }
    if (result == 0) {
      return fmt::format("[{}] was not written by this run; it is now {}.", path.string(), aside.filename().string());
    }
    if (errno == EEXIST) continue;
    throw WorldError(path.string(), fmt::format("is in the way, and cannot be renamed to {} ({}). Move it away",
                                                aside.filename().string(), describe_errno(errno)));
  }
  throw WorldError(path.string(), "is in the way, and every name beside it is taken. Move it away");
}

}  // namespace triptych::checkpoint
