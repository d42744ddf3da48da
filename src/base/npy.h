#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"

// Arrays of one or two dimensions in NumPy's .npy files, format versions 1.0 to 3.0
// (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html).

namespace triptych::base {

/// The kinds of elements that these files are written and read with; little-endian.
enum class NpyType : uint8_t { kFloat16, kFloat32, kUInt64 };
std::size_t npy_type_bytes(NpyType type);

/// Writes [rows, columns], a few rows at a time, of which nobody knows how many there will be. The file has its name
/// once `finish` has been called; until then, and where that never happens, there is nothing under it.
class NpyWriter {
 public:
  /// Throws WorldError if the file cannot be made.
  NpyWriter(std::filesystem::path path, NpyType type, int64_t columns);
  /// Removes what is not finished.
  ~NpyWriter();
  NpyWriter(const NpyWriter&) = delete;
  NpyWriter& operator=(const NpyWriter&) = delete;

  /// Whole rows, one after the other. Throws WorldError.
  void append(std::span<const std::byte> rows);
  /// Writes the number of rows, flushes, and gives the file its name. Throws WorldError.
  void finish();
  int64_t num_rows() const { return num_rows_; }

 private:
  std::filesystem::path path_, temporary_;
  NpyType type_;
  int64_t columns_;
  int64_t num_rows_ = 0;
  std::unique_ptr<File> file_;
};

/// An array on disk, read a few rows at a time. Thread-safe.
class NpyFile {
 public:
  /// Throws UserError if the file is no .npy of these types, of one dimension (one row) or two, in C order, or if its
  /// size is not what the header says.
  static NpyFile open(const std::filesystem::path& path);

  NpyType type() const { return type_; }
  int64_t num_rows() const { return num_rows_; }
  int64_t num_columns() const { return num_columns_; }
  /// Rows [first, first + count), as numbers of that type; float16 is widened to float. Throws InternalError if the
  /// file is of another type or has no such rows, WorldError if it cannot be read.
  std::vector<float> read_floats(int64_t first, int64_t count) const;
  std::vector<uint64_t> read_integers(int64_t first, int64_t count) const;

 private:
  NpyFile(File file, NpyType type, int64_t num_rows, int64_t num_columns, uint64_t begin)
      : file_(std::move(file)), type_(type), num_rows_(num_rows), num_columns_(num_columns), begin_(begin) {}
  std::vector<std::byte> read(int64_t first, int64_t count) const;

  File file_;
  NpyType type_;
  int64_t num_rows_, num_columns_;
  uint64_t begin_;
};

}  // namespace triptych::base
