#include "base/mapped_file.h"

#include <cerrno>
#include <utility>

#include <sys/mman.h>
#include <unistd.h>

#include "base/error.h"

namespace triptych::base {
namespace {

void* address(const std::byte* first) {
  return const_cast<std::byte*>(first);
}

}  // namespace

MappedFile::MappedFile(const File& file) {
  const uint64_t size = file.size();
  if (size == 0) return;  // there is nothing to map
  void* const memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.descriptor(), 0);
  if (memory == MAP_FAILED) {
    throw WorldError(file.path().string(),
                     fmt::format("cannot be mapped into memory, {} bytes ({})", size, describe_errno(errno)));
  }
  first_ = static_cast<const std::byte*>(memory);
  size_ = size;
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : first_(std::exchange(other.first_, nullptr)), size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(first_, other.first_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (first_ != nullptr) ::munmap(address(first_), size_);
}

// Advice: where the system does not follow it nothing is wrong.
void MappedFile::release(uint64_t offset, uint64_t size) const {
  static const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  const uint64_t begin = (offset + page - 1) / page * page, end = (offset + size) / page * page;
  if (begin < end) ::madvise(address(first_ + begin), end - begin, MADV_DONTNEED);
}
void MappedFile::expect_sequential_reads() const {
  if (first_ != nullptr) ::madvise(address(first_), size_, MADV_SEQUENTIAL);
}
void MappedFile::expect_random_reads() const {
  if (first_ != nullptr) ::madvise(address(first_), size_, MADV_RANDOM);
}

}  // namespace triptych::base
