#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// A folder of images: reads files below it and nothing else, whatever names come from outside. Thread-safe.
class ImageFolder {
 public:
  /// Throws UserError if it is no folder. An empty path stands for no folder: then every name is refused.
  explicit ImageFolder(const std::filesystem::path& folder);

  /// Reads the file of a name relative to the folder, or of an absolute one that lies below it. Throws SampleFault if
  /// the name leads out of the folder (by '..', by a link, or as it is), or names no file of 1 to kMaxImageBytes bytes.
  void read(const std::string& name, std::vector<std::byte>& bytes) const;

 private:
  std::filesystem::path folder_, absolute_, root_;
};

}  // namespace triptych::data
