#pragma once

#include <filesystem>
#include <string_view>

#include "base/rooms.h"

namespace triptych::report {

/// A file that grows by whole records while others read it. One process writes it. Not thread-safe.
///
/// Flush policy: each record is one write(2) of its own, so a killed process loses none, and a reader sees whole
/// records at once. `sync` makes them survive a power cut.
class AppendFile {
 public:
  enum class Existing {
    kContinue,  ///< what is there stays before what is appended
    kRefuse     ///< a file of this name is an error
  };
  /// Throws WorldError, under the name `where`, if it cannot be opened.
  AppendFile(std::string_view where, std::filesystem::path path, Existing existing);
  ~AppendFile();
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;

  /// Throws WorldError (a full disk); nothing of the record is left in the file then.
  void append(std::string_view record);
  void sync();
  const std::filesystem::path& path() const { return path_; }

 private:
  [[noreturn]] void fail(std::string_view action, int error_number) const;

  std::string_view where_;
  std::filesystem::path path_;
  int descriptor_ = -1;
};

}  // namespace triptych::report
