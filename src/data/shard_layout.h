#pragma once

#include <filesystem>
#include <string>

#include "data/shard_format.h"

namespace triptych::data {

struct ShardHeader {
  std::string data_set_id;
  ShardLayout layout;
};

/// Opens a shard with HDF5, in a child process since HDF5 may crash on a damaged file, and asks it for the attributes
/// and for where each array lies. Reads no array. What comes back is checked against the file's size: all arrays lie
/// in the file and none overlap. Throws UserError with the rule that is broken and its remedy.
ShardHeader read_shard_header(const std::filesystem::path& path);

}  // namespace triptych::data
