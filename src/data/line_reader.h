#pragma once

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// A sample's captions escaped as JSON, with room to spare; bounds the memory that one line or row takes.
inline constexpr std::size_t kMaxLineBytes = std::size_t{4} << 20;

/// Lines of a file, without ever holding more than one of at most kMaxLineBytes.
class LineReader {
 public:
  explicit LineReader(const std::filesystem::path& path);

  /// False at the end. `too_long`: the line was skipped. The line's end is not in it, be it LF or CR LF.
  bool next(std::string_view& line, bool& too_long);
  /// Of the last line, from 1.
  uint64_t number() const { return number_; }
  /// Where the next line begins.
  uint64_t offset() const { return offset_; }
  /// Goes to a line that begins at `offset`; `number` is that of the one before it.
  void go_to(uint64_t offset, uint64_t number);

 private:
  std::ifstream stream_;
  std::vector<char> buffer_;
  uint64_t number_ = 0, offset_ = 0;
};

/// Opens a regular file, and asks first whether it is one, since opening a pipe would wait for its other end. Throws
/// UserError.
std::ifstream open_input(const std::filesystem::path& path);

}  // namespace triptych::data
