#include "fuzz.h"

#include <cstdlib>
#include <fstream>

#include <sys/mman.h>
#include <unistd.h>

namespace triptych::test {

MemoryFile::MemoryFile(std::string_view contents) : descriptor_(::memfd_create("fuzz", MFD_CLOEXEC)) {
  must_hold(::write(descriptor_, contents.data(), contents.size()) == static_cast<ssize_t>(contents.size()));
}

MemoryFile::~MemoryFile() {
  ::close(descriptor_);
}

std::filesystem::path MemoryFile::path() const {
  return fmt::format("/proc/{}/fd/{}", ::getpid(), descriptor_);
}

std::filesystem::path scratch_folder() {
  const char* const parent = std::getenv("TRIPTYCH_FUZZ_SCRATCH");
  const std::filesystem::path folder =
      std::filesystem::path(parent == nullptr ? "/tmp" : parent) / fmt::format("fuzz_{}", ::getpid());
  std::filesystem::create_directories(folder);
  return folder;
}

void write_file(const std::filesystem::path& path, std::string_view contents) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(contents.data(), static_cast<std::streamsize>(contents.size()));
  file.close();
  must_hold(file.good());
}

}  // namespace triptych::test
