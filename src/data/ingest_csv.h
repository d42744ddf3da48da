#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "data/ingest_source.h"

namespace triptych::data {

struct CsvInput {
  std::vector<std::filesystem::path> tables;
  char separator = ',';
  std::filesystem::path images;           ///< what image names are relative to; empty: the folder of the first table
  std::string image_column = "filepath";  ///< empty: there are no images
  std::vector<std::string> caption_columns{"title"};  ///< an empty field is no caption; none: there are no captions
  std::string label_column;                           ///< integers, or names of classes; empty: there are no labels
  std::string id_column;                              ///< integers; empty: rows are numbered
};

/// Tables whose first row names the columns, comma or tab between them. Throws UserError if a column is missing, with
/// those that are there, or if a file is of another format.
std::unique_ptr<IngestSource> open_csv(const CsvInput& input);

}  // namespace triptych::data
