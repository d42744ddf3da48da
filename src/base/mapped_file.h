#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "base/file.h"

namespace triptych::base {

/// A file's bytes as memory that is only read. All processes of a machine that map a file share its pages, and the
/// system drops them under pressure, to read them again when they are touched. The file may be renamed or removed
/// meanwhile; if it is cut, or its disk fails, touching what is lost ends the process (SIGBUS).
class MappedFile {
 public:
  MappedFile() = default;
  /// All of `file`, which need not stay open. Throws WorldError if it cannot be mapped.
  explicit MappedFile(const File& file);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const { return {first_, size_}; }
  /// Lets this process hold none of the pages that lie wholly in [offset, offset + size): they count as its memory no
  /// more until they are touched again.
  void release(uint64_t offset, uint64_t size) const;
  /// Whether to read ahead of what is touched.
  void expect_sequential_reads() const;
  void expect_random_reads() const;

 private:
  const std::byte* first_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace triptych::base
