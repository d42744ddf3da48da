#pragma once

#include <filesystem>

#include "data/ingest.h"
#include "data/ingest_pairs.h"

namespace triptych::test {

/// An ingest of one file of JSON lines.
struct PairsIngest : IngestOptions {
  std::filesystem::path captions, images;
};

inline IngestSummary ingest_pairs(const PairsIngest& options) {
  const auto source = open_pairs({.captions = {options.captions}, .images = options.images});
  return ingest(*source, options);
}

}  // namespace triptych::test
