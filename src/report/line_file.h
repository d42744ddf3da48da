#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/rooms.h"

namespace triptych::report {

/// A file of JSON lines that a run appends to. One process writes it (rank 0). Not thread-safe.
///
/// Flush policy: each line is one write(2) of its own, so a killed process loses no line, and a reader sees whole lines
/// at once. `sync` makes them survive a power cut; call it when a checkpoint is committed.
class LineFile {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

  /// Opens the file to append to it, made if missing. Lines that `keeps` does not want are dropped first: the file is
  /// replaced atomically by one with the others, byte for byte. Throws WorldError if it cannot be read or written.
  LineFile(std::filesystem::path path, const std::function<bool(const std::string&)>& keeps);
  ~LineFile();
  LineFile(const LineFile&) = delete;
  LineFile& operator=(const LineFile&) = delete;

  /// Appends a line, given without its newline. Throws WorldError (a full disk); nothing of the line is left in the
  /// file then.
  void write(std::string_view line);
  void sync();

 private:
  std::filesystem::path path_;
  int descriptor_ = -1;
};

/// Calls `use` for each line of a text, without its newline; the last one may have none.
void for_each_line(const std::string& text, const std::function<void(const std::string&)>& use);

}  // namespace triptych::report
