#include "data/line_reader.h"

#include <limits>

#include "base/error.h"

namespace triptych::data {

std::ifstream open_input(const std::filesystem::path& path) {
  std::ifstream stream;
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path, ignored)) stream.open(path, std::ios::binary);
  if (!stream.is_open()) {
    throw UserError(path.string(),
                    "is no file that can be read. Name a regular file; it is read twice, so it cannot be a "
                    "pipe.");
  }
  return stream;
}

LineReader::LineReader(const std::filesystem::path& path) : stream_(open_input(path)), buffer_(kMaxLineBytes + 1) {}

bool LineReader::next(std::string_view& line, bool& too_long) {
  too_long = false;
  stream_.getline(buffer_.data(), static_cast<std::streamsize>(buffer_.size()));
  std::size_t bytes = static_cast<std::size_t>(stream_.gcount());
  offset_ += bytes;
  if (stream_.bad()) throw WorldError("captions", "the file cannot be read to its end.");
  if (stream_.fail()) {
    if (stream_.eof() || bytes == 0) return false;
    too_long = true;
    stream_.clear();
    stream_.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
    offset_ += static_cast<std::size_t>(stream_.gcount());
  } else if (!stream_.eof()) {
    --bytes;  // the newline is counted but not stored
  }
  ++number_;
  if (bytes > 0 && buffer_[bytes - 1] == '\r') --bytes;
  line = std::string_view(buffer_.data(), bytes);
  return true;
}

void LineReader::go_to(uint64_t offset, uint64_t number) {
  stream_.clear();
  stream_.seekg(static_cast<std::streamoff>(offset));
  offset_ = offset;
  number_ = number;
}

}  // namespace triptych::data
