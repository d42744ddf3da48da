#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/rooms.h"

namespace triptych::data {

/// Samples whose image says something that is not applied.
struct IngestRemark {
  uint64_t count = 0;
  std::string first;  ///< where the first one comes from: "line 7"
  bool operator==(const IngestRemark&) const = default;
};

/// What an ingest has counted so far.
struct IngestCounts {
  uint64_t seen = 0;  ///< samples of the input, whether sound or not
  uint64_t left_out = 0;
  std::map<std::string, uint64_t> left_out_by_reason;
  std::map<std::string, uint64_t> ignored;      ///< what samples have that is not packed; 100 different ones at most
  std::map<std::string, IngestRemark> remarks;  ///< what image_remarks() says; 100 different ones at most
  bool operator==(const IngestCounts&) const = default;
};

}  // namespace triptych::data
