#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/file.h"
#include "base/hash.h"

namespace triptych::checkpoint {

/// A tensor to be written: contiguous, row-major, little-endian.
struct SafetensorsInput {
  std::string name;
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;
};

struct WrittenFile {
  uint64_t bytes = 0;
  Hash128 hash;
};

/// Writes a safetensors file and syncs it: 8 bytes of header length, a JSON header padded so that the data begins at a
/// multiple of 8, then the tensors without holes, the widest types first so that each is aligned. The hash is taken
/// as the bytes go by. Names must be distinct and not "__metadata__".
/// Throws WorldError naming the path if the disk refuses; the file is then left in part.
WrittenFile write_safetensors(const std::filesystem::path& path, std::span<const SafetensorsInput> tensors,
                              const std::map<std::string, std::string>& metadata);

/// A tensor in a file: its bytes are [offset, offset + bytes) of the file.
struct SafetensorsEntry {
  DType dtype = DType::kFloat32;
  std::vector<int64_t> shape;
  uint64_t offset = 0;
  uint64_t bytes = 0;
};

struct SafetensorsHeader {
  std::map<std::string, SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
};

/// Reads and checks the header: its length (at most 100 MB, and within the file), its form, every type, shape and
/// offset, no overflow, no overlap, no hole, no name twice, and that the tensors end where the file ends.
/// Throws WorldError naming the file and the first thing that is wrong.
SafetensorsHeader read_safetensors_header(const File& file);

/// "F32", "BF16", "F16", "I32", "I64", "U8", "F64".
std::string_view safetensors_dtype_name(DType dtype);
/// The inverse; false if the name is none of them.
bool parse_safetensors_dtype(std::string_view name, DType& dtype);

}  // namespace triptych::checkpoint
