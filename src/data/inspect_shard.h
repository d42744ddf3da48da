#pragma once

#include <filesystem>
#include <string>

#include "base/rooms.h"

namespace triptych::data {

/// A readable description of a shard file or of an indexed data set's folder: counts, sizes, formats, examples of
/// captions. With `verify`, every sample is read and its checksum compared with the index (a shard file without an
/// index beside it is checked against the rules of the format instead). Throws as `Dataset` and `build_index` do.
std::string describe_data(const std::filesystem::path& path, bool verify);

}  // namespace triptych::data
