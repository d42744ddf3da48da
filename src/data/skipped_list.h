#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::data {

/// The file that lists what an ingest leaves out: a JSON object a line. It is there only if something is.
class SkippedList {
 public:
  /// Goes on behind the file's first `bytes`; what is behind them is cut off. Throws WorldError.
  SkippedList(std::filesystem::path path, uint64_t bytes);

  void add(std::string_view place, std::string_view reason, std::string_view problem);
  /// Writes what was added to the disk, and returns how long the file is.
  uint64_t flush();

 private:
  std::filesystem::path path_;
  uint64_t bytes_;
  std::string waiting_;
};

}  // namespace triptych::data
