#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// Rows of a table as RFC 4180 has them: fields between separators, in double quotes where they hold a separator, a
/// line's end or a quote, which is then doubled. Lines end with LF or CR LF; empty ones are passed over. Holds one row
/// of at most kMaxLineBytes.
class CsvReader {
 public:
  CsvReader(const std::filesystem::path& path, char separator);

  /// Reads the next row; false at the end. Throws SampleFault if there is something behind a closing quote, or if the
  /// row is too long: then the next call reads the line behind it. Throws UserError if a quote is never closed, which
  /// leaves no place to go on from.
  bool next(std::vector<std::string>& fields);
  /// Where the next row begins.
  uint64_t offset() const { return offset_; }
  void go_to(uint64_t offset);

 private:
  int get();
  int peek();
  void read_quoted(std::string& field);
  [[noreturn]] void refuse_row(const std::string& rule);

  std::filesystem::path path_;
  std::ifstream stream_;
  char separator_;
  uint64_t offset_ = 0, row_offset_ = 0;
};

}  // namespace triptych::data
