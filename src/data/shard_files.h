#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// Names of the regular files `*.h5` in a folder, in byte order: the order of a data set's shards. Throws UserError if
/// `dir` is no folder or one of them is not a regular file.
std::vector<std::string> list_shard_files(const std::filesystem::path& dir);

}  // namespace triptych::data
