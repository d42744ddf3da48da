#include "interop/new_folder.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

#include <sys/stat.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"

namespace triptych::interop {

namespace fs = std::filesystem;

NewFolder::NewFolder(fs::path out) : out_(std::move(out)) {
  std::string text = out_.lexically_normal().string();
  while (text.size() > 1 && text.ends_with('/')) text.pop_back();
  out_ = text;
  std::error_code error;
  const fs::file_type type = fs::symlink_status(out_, error).type();
  if (type != fs::file_type::not_found && (type != fs::file_type::directory || !list_folder(out_).empty())) {
    throw UserError(out_.string(), "must be a new or an empty folder. Choose another --out, or remove it");
  }
  if (out_.has_parent_path()) fs::create_directories(out_.parent_path(), error);
  std::string name = out_.string() + ".XXXXXX";
  if (::mkdtemp(name.data()) == nullptr || ::chmod(name.c_str(), 0755) != 0) {
    throw WorldError(out_.string(), fmt::format("cannot be made: {}. Choose another --out", describe_errno(errno)));
  }
  path_ = name;
}

NewFolder::~NewFolder() {
  if (committed_) return;
  std::error_code error;
  fs::remove_all(path_, error);
  if (error) {
    print_warning(fmt::format("[{}] what was begun there cannot be removed ({}). Remove it by hand", path_.string(),
                              error.message()));
  }
}

void NewFolder::commit() {
  sync_folder(path_);
  if (::rename(path_.c_str(), out_.c_str()) != 0) {
    throw WorldError(out_.string(), fmt::format("what is finished cannot take its place: {}. Choose another --out",
                                                describe_errno(errno)));
  }
  committed_ = true;
  sync_folder(out_.has_parent_path() ? out_.parent_path() : fs::path("."));
}

}  // namespace triptych::interop
