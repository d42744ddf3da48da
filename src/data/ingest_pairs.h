#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct PairsInput {
  std::vector<std::filesystem::path> captions;  ///< files of JSON lines
  std::filesystem::path images;                 ///< folder of the images; may be empty if no line names one
};

/// Lines of JSON, one sample each: docs/ingest.md has the keys. Throws UserError if a file is of another format or
/// cannot be read.
std::unique_ptr<IngestSource> open_pairs(const PairsInput& input);

}  // namespace triptych::data
