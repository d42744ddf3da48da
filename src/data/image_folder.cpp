#include "data/image_folder.h"

#include <algorithm>

#include "base/file.h"
#include "data/sample_description.h"
#include "data/sample_fault.h"
#include "data/shard_format.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void refuse(const std::string& rule) {
  throw SampleFault(kNoImage, rule);
}

bool lies_below(const fs::path& path, const fs::path& root) {
  return std::mismatch(root.begin(), root.end(), path.begin(), path.end()).first == root.end();
}

}  // namespace

ImageFolder::ImageFolder(const fs::path& folder) : folder_(folder) {
  if (folder.empty()) return;
  std::error_code error;
  absolute_ = fs::absolute(folder).lexically_normal();
  if (!absolute_.has_filename()) absolute_ = absolute_.parent_path();
  root_ = fs::canonical(folder, error);
  if (error || !fs::is_directory(root_, error))
    throw UserError(folder.string(), "is no folder. Name one with --images.");
}

void ImageFolder::read(const std::string& name, std::vector<std::byte>& bytes) const {
  if (folder_.empty()) {
    refuse(fmt::format("names the image '{}', but no folder of images was given (--images)", shown_name(name)));
  }
  fs::path relative(name);
  if (name.find('\0') != std::string::npos) refuse("the image's name has a zero byte");
  if (relative.is_absolute() && lies_below(relative, absolute_)) relative = relative.lexically_relative(absolute_);
  if (relative.is_absolute() || std::find(relative.begin(), relative.end(), "..") != relative.end()) {
    refuse(fmt::format("the image '{}' must be a name relative to {}, without '..'", name, folder_.string()));
  }
  std::error_code error;
  const fs::path path = fs::canonical(root_ / relative, error);
  if (error) refuse(fmt::format("the image {} cannot be found ({})", (folder_ / relative).string(), error.message()));
  if (!lies_below(path, root_)) {
    refuse(fmt::format("the image '{}' is a link that leads out of {}", name, folder_.string()));
  }
  if (!fs::is_regular_file(path, error)) refuse(fmt::format("the image {} is not a regular file", path.string()));
  try {
    const File file = File::open_read(path);
    const uint64_t size = file.size();
    if (size == 0) refuse(fmt::format("the image '{}' is an empty file", name));
    if (size > kMaxImageBytes) {
      refuse(fmt::format("the image '{}' has {} bytes, at most {} are allowed", name, size, kMaxImageBytes));
    }
    bytes.resize(size);
    file.pread(bytes, 0);
  } catch (const WorldError& world) {
    refuse(fmt::format("the image '{}': {}", name, world.what()));
  }
}

}  // namespace triptych::data
