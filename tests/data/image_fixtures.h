#pragma once

#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "scratch_folder.h"

namespace triptych::test {

/// The images of make_images.py, written by Pillow and by hand, once a process.
inline const std::filesystem::path& image_fixtures() {
  static const ScratchFolder folder;
  static const bool made = [] {
    const std::filesystem::path script = std::filesystem::path(__FILE__).parent_path() / "make_images.py";
    const std::string command = "/usr/bin/python3 '" + script.string() + "' '" + folder.path().string() + "'";
    if (std::system(command.c_str()) != 0) throw std::runtime_error("failed: " + command);
    return true;
  }();
  (void)made;
  return folder.path();
}

inline std::vector<std::byte> read_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot read " + path.string());
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const std::span<const std::byte> bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

}  // namespace triptych::test
