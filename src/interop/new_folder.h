#pragma once

#include <filesystem>

#include "base/rooms.h"

namespace triptych::interop {

/// A folder that is seen only when it is whole: it is made beside `out` as "<out>.XXXXXX", and becomes that at the end.
class NewFolder {
 public:
  /// Throws UserError if `out` is there and is no empty folder, WorldError if the folder cannot be made.
  explicit NewFolder(std::filesystem::path out);
  /// Removes it if it was not committed, or says in a warning that it cannot. One that was killed leaves it behind.
  ~NewFolder();
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }
  /// Takes the place of nothing, or of an empty folder. Throws WorldError if something else has come there.
  void commit();

 private:
  std::filesystem::path out_, path_;
  bool committed_ = false;
};

}  // namespace triptych::interop
