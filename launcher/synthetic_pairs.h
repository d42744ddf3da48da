#pragma once

#include <cstdint>
#include <filesystem>

namespace triptych::launcher {

/// A folder under the system's temporary one; removed with all that is in it.
class TemporaryFolder {
 public:
  /// Throws WorldError if none can be made.
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Writes an indexed data set of `num_samples` drawings with captions: in turn a JPEG photograph's size (256 x 192) and
/// a PNG icon's (96 x 96), of smooth colors and texture, so that they compress like pictures and not like noise. A pure
/// function of its arguments.
void write_synthetic_pairs(const std::filesystem::path& dir, int64_t num_samples, uint64_t seed);

}  // namespace triptych::launcher
