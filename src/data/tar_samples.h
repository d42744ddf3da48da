#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// A file of a sample in an archive.
struct TarMember {
  std::string extension;  ///< all behind the first dot of the file's name, in lower case: "jpg", "seg.png"
  uint64_t bytes = 0;     ///< its size
  std::string data;       ///< its contents, if they were wanted and may be so large
  bool is_read = false;
};

/// Files of an archive that follow each other and are called the same up to the first dot of their names.
struct TarSample {
  std::string key;  ///< folder and name up to that dot
  std::vector<TarMember> members;
};

/// Whether the contents of a file are wanted, by its extension and size. What is not wanted is not read.
using WantedMember = std::function<bool(std::string_view extension, uint64_t bytes)>;

/// Samples of a tar archive as webdataset groups its files, read front to back without unpacking: ustar, GNU and pax
/// tar, plain or compressed by gzip or zstd. libarchive reads the archive. Folders, links and devices, files without a
/// dot and those called "__...__" are passed over, as webdataset does. Holds one sample.
class TarSamples {
 public:
  /// Throws UserError if the file cannot be opened or is no tar archive.
  explicit TarSamples(const std::filesystem::path& path);
  ~TarSamples();
  TarSamples(TarSamples&&) noexcept;
  TarSamples& operator=(TarSamples&&) noexcept;

  /// False at the end. Throws SampleFault with kCutArchive if the archive cannot be read on, after which there is
  /// nothing more, and with another reason if a sample has the same extension twice or more than 256 files.
  bool next(TarSample& sample, const WantedMember& wanted);

 private:
  struct Archive;
  std::unique_ptr<Archive> archive_;
};

}  // namespace triptych::data
