#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/rooms.h"

namespace triptych::base {

/// An open file descriptor, closed on destruction. Every failure is a WorldError that names the path and errno.
/// `pread` may be called from several threads at once.
class File {
 public:
  static File open_read(const std::filesystem::path& path);
  /// Creates or truncates, mode 0644.
  static File create(const std::filesystem::path& path);

  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  int descriptor() const { return descriptor_; }
  const std::filesystem::path& path() const { return path_; }
  uint64_t size() const;
  /// Reads exactly `out.size()` bytes at `offset`; an early end of the file is an error.
  void pread(std::span<std::byte> out, uint64_t offset) const;
  /// Writes everything at the current position.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  /// Flushes to the disk (fsync) and closes; errors that close() reports are not lost.
  void sync_and_close();

 private:
  File(int descriptor, std::filesystem::path path) : descriptor_(descriptor), path_(std::move(path)) {}
  int descriptor_ = -1;
  std::filesystem::path path_;
};

/// The whole file as a string; refuses one larger than `max_bytes` before anything is allocated.
std::string read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

/// Writes `path` so that a reader sees the old contents or the new, never a part: temporary name, fsync, rename,
/// fsync of the folder.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

/// The paths of a folder's entries, by name; none if there is no such folder. One that cannot be listed is a
/// WorldError, since an empty answer would look as if nothing were there.
std::vector<std::filesystem::path> list_folder(const std::filesystem::path& folder);

/// Makes a folder's entries durable.
void sync_folder(const std::filesystem::path& folder);

}  // namespace triptych::base
