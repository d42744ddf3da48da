#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/rooms.h"

namespace triptych::test {

/// Ends the program, which libFuzzer reports, if what a reader took breaks a promise of its header.
inline void must_hold(bool fact) {
  if (!fact) __builtin_trap();
}

/// Calls a reader of bytes from outside. It may take them, or refuse them in words that a person can read, with the
/// user's or the world's error; any other exception goes on, and libFuzzer reports it.
template <typename Read>
void must_read_or_refuse(const Read& read) {
  constexpr std::size_t kMaxLineBytes = 2000;
  try {
    read();
  } catch (const Error& error) {
    if (error.kind() == ErrorKind::kInternal) throw;
    std::string_view message = error.what();
    while (!message.empty()) {
      const std::size_t end = std::min(message.find('\n'), message.size());
      must_hold(end <= kMaxLineBytes);
      message.remove_prefix(std::min(end + 1, message.size()));
    }
  }
}

inline std::string_view text_of(const uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// A file in memory with a path, for readers that open a file. One thread at a time.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view contents);
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;
  ~MemoryFile();
  std::filesystem::path path() const;

 private:
  int descriptor_;
};

/// A folder in memory where there is one, for readers that open several files of one; made once, and removed by
/// tests/fuzz/run.
std::filesystem::path scratch_folder();

/// Creates or replaces a file.
void write_file(const std::filesystem::path& path, std::string_view contents);

}  // namespace triptych::test
