#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "base/npy.h"
#include "data/dataset.h"
#include "tasks/search.h"

// What `triptych embed` writes and `triptych search` reads: FILE.npy, float32 or float16 [n, width], and FILE.ids.npy,
// uint64 [n, 3]: of each row the number of its sample in the data set, that sample's id, and which of its captions it
// is (0 of a picture).

namespace triptych::launcher {

/// "runs/x/pictures.npy" -> "runs/x/pictures.ids.npy". Throws UserError unless the name ends with ".npy".
std::filesystem::path ids_file_of(const std::filesystem::path& embeddings);

/// Writes both files; they have their names once `finish` was called. Throws WorldError.
class EmbeddingWriter {
 public:
  ///   type   kFloat32 or kFloat16
  EmbeddingWriter(const std::filesystem::path& file, NpyType type, int64_t width);

  void append(const Dataset& dataset, std::span<const EmbeddedItem> items, std::span<const float> rows);
  void finish();
  int64_t num_rows() const { return rows_.num_rows(); }

 private:
  NpyType type_;
  NpyWriter rows_, ids_;
};

/// Such files, opened together. Throws UserError if they are none, or do not belong together.
class EmbeddingReader {
 public:
  explicit EmbeddingReader(const std::filesystem::path& file);

  int64_t width() const { return rows_.num_columns(); }
  int64_t num_rows() const { return rows_.num_rows(); }
  std::vector<float> rows(int64_t first, int64_t count) const { return rows_.read_floats(first, count); }
  struct Id {
    uint64_t sample = 0, id = 0, text = 0;
  };
  Id id(int64_t row) const;

 private:
  NpyFile rows_, ids_;
};

}  // namespace triptych::launcher
