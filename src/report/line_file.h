#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>

#include "base/rooms.h"
#include "report/append_file.h"

namespace triptych::report {

/// A file of JSON lines that a run appends to, as an AppendFile is. Call `sync` when a checkpoint is committed.
class LineFile {
 public:
  static constexpr uint64_t kMaxBytes = uint64_t{4} << 30;

  /// Opens the file to append to it, made if missing. Lines that `keeps` does not want are dropped first: the file is
  /// replaced atomically by one with the others, byte for byte. Throws WorldError if it cannot be read or written.
  LineFile(std::filesystem::path path, const std::function<bool(const std::string&)>& keeps);

  /// Appends a line, given without its newline. Throws WorldError (a full disk); nothing of the line is left in the
  /// file then.
  void write(std::string_view line) { file_.append(std::string(line) + '\n'); }
  void sync() { file_.sync(); }

 private:
  AppendFile file_;
};

/// Calls `use` for each line of a text, without its newline; the last one may have none.
void for_each_line(const std::string& text, const std::function<void(const std::string&)>& use);

/// The same for a file, of which a small part is in memory at a time. Lines of more than 2^20 bytes are left out.
/// Throws WorldError if it cannot be read.
void for_each_line_of(const std::filesystem::path& path, const std::function<void(const std::string&)>& use);

}  // namespace triptych::report
