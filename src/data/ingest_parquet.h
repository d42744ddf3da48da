#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct ParquetInput {
  std::vector<std::filesystem::path> tables;
  std::filesystem::path images;  ///< what image names are relative to, where the column holds names; may be empty
  std::string image_column;      ///< bytes, names, or Hugging Face's {bytes, path}; empty: the first of the usual ones
  std::string caption_column;    ///< strings or lists of strings; empty: the first of the usual ones
  std::string label_column;      ///< integers or names of classes; empty: there are no labels
  std::string python = "python3";  ///< an interpreter that has pyarrow
};

/// Rows of Parquet files, which Debian has no C++ library for: a Python process with pyarrow reads them and streams the
/// rows through a pipe, each in a frame whose sizes are checked before anything is allocated. Throws UserError if the
/// interpreter or pyarrow is missing, with what to install, or if a file or a column is not what it must be.
std::unique_ptr<IngestSource> open_parquet(const ParquetInput& input);

}  // namespace triptych::data
