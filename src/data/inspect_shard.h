#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

#include "base/rooms.h"

namespace triptych::data {

struct InspectOptions {
  bool verify = false;                             ///< every sample is read and its checksum compared with the index
  bool decode = false;                             ///< every image is decoded whole
  int threads = 1;                                 ///< that decode
  std::function<void(uint64_t samples)> progress;  ///< called now and then while decoding, from one thread at a time
};

/// A readable description of a shard file or of an indexed data set's folder: counts, sizes, formats, examples of
/// captions. A shard file without an index beside it is verified against the rules of the format instead. Throws as
/// `Dataset` and `build_index` do, and WorldError that names the first 20 samples that are damaged.
std::string describe_data(const std::filesystem::path& path, const InspectOptions& options);

}  // namespace triptych::data
