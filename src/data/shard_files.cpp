#include "data/shard_files.h"

#include "base/error.h"
#include "base/file.h"

namespace triptych::data {

std::vector<std::string> list_shard_files(const std::filesystem::path& dir) {
  std::vector<std::string> names;
  try {
    if (!std::filesystem::is_directory(dir)) {
      throw UserError(dir.string(), std::filesystem::exists(dir) ? "must be a folder of shards, found a file."
                                                                 : "does not exist. Name a folder of shards.");
    }
    for (const std::filesystem::path& path : list_folder(dir)) {
      if (path.extension() != ".h5") continue;
      if (!std::filesystem::is_regular_file(path)) throw UserError(path.string(), "must be a regular file. Remove it.");
      names.push_back(path.filename().string());
    }
  } catch (const std::filesystem::filesystem_error& error) {
    throw WorldError(dir.string(), fmt::format("cannot be looked at ({})", error.code().message()));
  }
  return names;
}

}  // namespace triptych::data
