#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

#include "base/rooms.h"

namespace triptych::data {

struct IndexSummary {
  uint64_t num_shards = 0;
  uint64_t num_samples = 0;
  uint64_t num_captions = 0;  ///< texts of every role
  uint64_t num_images = 0;
  uint64_t num_boxes = 0;
};

/// Reads every shard (`*.h5`, in the order of their names) of a folder once, checks all the rules of
/// docs/shard-format.md, and writes `index.bin` and then `index.json`. Each file is opened by HDF5 in a child process
/// with limits, so that a hostile file ends in an error. An index that was there stays until the new one is complete.
///
/// Throws UserError listing the first problems of the shards, WorldError if a file cannot be read or written.
IndexSummary build_index(const std::filesystem::path& dir,
                         const std::function<void(uint64_t shards_done, uint64_t num_shards)>& progress = {});

}  // namespace triptych::data
