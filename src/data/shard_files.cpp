#include "data/shard_files.h"

#include <algorithm>

#include "base/error.h"

namespace triptych::data {

std::vector<std::string> list_shard_files(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  try {
    if (!std::filesystem::is_directory(dir)) {
      throw UserError(dir.string(), std::filesystem::exists(dir) ? "must be a folder of shards, found a file."
                                                                 : "does not exist. Name a folder of shards.");
    }
    for (const auto& entry : std::filesystem::directory_iterator(dir)) {
      if (entry.path().extension() != ".h5") continue;
      if (!entry.is_regular_file()) throw UserError(entry.path().string(), "must be a regular file. Remove it.");
      names.push_back(entry.path().filename().string());
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw WorldError(dir.string(), fmt::format("cannot be listed ({})", error.code().message()));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace triptych::data
