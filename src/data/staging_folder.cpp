#include "data/staging_folder.h"

#include <algorithm>
#include <cerrno>
#include <string_view>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/console.h"
#include "base/error.h"
#include "base/file.h"
#include "data/class_names.h"
#include "data/index_file.h"
#include "data/ingest.h"
#include "data/ingest_journal.h"
#include "data/shard_format.h"
#include "text/own_model.h"
#include "text/tokenizer.h"

namespace triptych::data {
namespace {

namespace fs = std::filesystem;

/// The name without the end that a file has while it is written (write_file_atomically); empty if it has none.
std::string_view finished_name(std::string_view name) {
  const std::size_t at = name.rfind(".tmp");
  if (at == std::string_view::npos) return {};
  const std::string_view digits = name.substr(at + 4);
  const bool is_number = !digits.empty() && std::ranges::all_of(digits, [](char c) { return c >= '0' && c <= '9'; });
  return is_number ? name.substr(0, at) : std::string_view();
}

bool is_shard_name(std::string_view name) {
  return name.starts_with("shard_") && name.ends_with(".h5");
}

/// A name under which only this program writes into a data set's folder.
bool is_own_name(std::string_view name) {
  return name == kIndexName || name == kIndexArraysName || name == kClassNamesFile || name == kTokenizerName ||
         name == kSkippedName || name == kJournalName || is_shard_name(name);
}

/// Whether it is a file, and no link or folder, under such a name or its unfinished one.
bool is_own_file(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code ignored;
  return fs::symlink_status(path, ignored).type() == fs::file_type::regular &&
         (is_own_name(name) || is_own_name(finished_name(name)));
}

/// Throws unless all that the folder holds is of this program.
void check_own(const fs::path& folder) {
  for (const fs::path& file : list_folder(folder)) {
    if (is_own_file(file)) continue;
    throw UserError(folder.string(), fmt::format("is where the data set is made, but holds {}. Remove that folder.",
                                                 file.filename().string()));
  }
}

/// Of the data set that was there before. The new one is in its place, so a failure is no error.
void remove_replaced(const fs::path& folder) {
  std::error_code error;
  fs::remove_all(folder, error);
  if (!error) return;
  print_warning(fmt::format("[{}] the data set that was replaced cannot be removed ({}). Remove it by hand",
                            folder.string(), error.message()));
}

}  // namespace

StagingFolder::StagingFolder(const fs::path& out) : out_(out), path_(out.string() + ".partial") {
  check_replaceable();
  std::error_code error;
  const fs::file_type type = fs::symlink_status(path_, error).type();
  if (type != fs::file_type::not_found && type != fs::file_type::directory) {
    throw UserError(path_.string(),
                    "is where the data set is made, but is no folder. Remove it, or choose another --out.");
  }
  try {
    fs::create_directories(path_);
  } catch (const fs::filesystem_error& failure) {
    throw WorldError(path_.string(), fmt::format("cannot be created ({}).", failure.code().message()));
  }
  take_lock();
  try {
    check_own(path_);
  } catch (const Error&) {
    ::close(lock_);
    throw;
  }
}

StagingFolder::~StagingFolder() {
  std::error_code ignored;
  if (!committed_ && !keeps_) fs::remove_all(path_, ignored);
  ::close(lock_);
}

bool StagingFolder::remove_all_but(const std::set<std::string>& names) const {
  bool had_more = false;
  for (const fs::path& file : list_folder(path_)) {
    std::error_code error;
    if (names.contains(file.filename().string())) continue;
    if (!fs::remove(file, error) && error) {
      throw WorldError(file.string(), fmt::format("of an earlier ingest cannot be removed ({}).", error.message()));
    }
    had_more |= file.filename() != kJournalName;
  }
  return had_more;
}

/// The kernel lets go of it when this process ends, however it does. A file system without such locks has none.
void StagingFolder::take_lock() {
  lock_ = ::open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (lock_ < 0) throw WorldError(path_.string(), fmt::format("cannot be opened ({}).", describe_errno(errno)));
  if (::flock(lock_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(lock_);
  throw UserError(path_.string(),
                  "is in use: another ingest is making a data set there. Wait for it, or choose another --out.");
}

void StagingFolder::commit() {
  check_replaceable();  // something may have come while the data set was made
  for (const std::string& name : kept_) {
    write_file_atomically(path_ / name, read_text_file(out_ / name, kMaxTokenizerBytes));
  }
  sync_folder(path_);
  if (!replace()) {
    throw WorldError(out_.string(),
                     fmt::format("the finished data set cannot be renamed to it ({}).", describe_errno(errno)));
  }
  committed_ = true;
  sync_folder(out_.has_parent_path() ? out_.parent_path() : ".");
  remove_replaced(path_);
}

/// rename(2) takes the place of nothing or of an empty folder; an older data set is exchanged in one step where the
/// file system can, and moved aside first where it cannot. Afterwards `path_` holds what is to be removed, if anything.
bool StagingFolder::replace() const {
  if (::rename(path_.c_str(), out_.c_str()) == 0) return true;
  if (errno != ENOTEMPTY && errno != EEXIST) return false;
  if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  const std::string aside = out_.string() + ".replaced";
  if (::rename(out_.c_str(), aside.c_str()) != 0) return false;
  if (::rename(path_.c_str(), out_.c_str()) != 0) {
    const int why = errno;
    ::rename(aside.c_str(), out_.c_str());
    errno = why;
    return false;
  }
  remove_replaced(aside);
  return true;
}

void StagingFolder::check_replaceable() {
  kept_.clear();
  std::error_code error;
  const fs::file_status status = fs::symlink_status(out_, error);
  if (status.type() == fs::file_type::not_found) return;
  if (status.type() != fs::file_type::directory) {
    throw UserError(out_.string(), "exists and is no folder. Choose another --out.");
  }
  const auto refuse = [&](const std::string& name, std::string_view why) {
    throw UserError(out_.string(), fmt::format("holds {}, {}, so it is not replaced. Remove the folder or choose "
                                               "another --out.",
                                               name, why));
  };
  std::size_t num_entries = 0;
  std::vector<std::string> shards;
  for (const fs::path& path : list_folder(out_)) {
    const std::string name = path.filename().string();
    ++num_entries;
    if (!is_own_file(path)) refuse(name, "which no ingest has made");
    if (name == kTokenizerName) {
      if (!is_own_tokenizer(path)) refuse(name, "which `triptych tokenizer train` has not made");
      kept_.push_back(name);
    }
    if (is_shard_name(name)) shards.push_back(name);
  }
  if (num_entries == kept_.size()) return;  // nothing that would be lost
  if (!fs::exists(out_ / kIndexName, error)) {
    if (shards.empty()) refuse("files", "but no data set");
    throw UserError(out_.string(),
                    "holds shards without an index, so it is not replaced. Run `triptych index` on it, "
                    "remove it, or choose another --out.");
  }
  DatasetIndex index;
  try {
    index = read_index(out_);
  } catch (const Error& read_error) {
    throw UserError(out_.string(), fmt::format("is not replaced, since its index does not say what it holds: {} "
                                               "Remove the folder or choose another --out.",
                                               read_error.what()));
  }
  // An ingest's id is a UUID of version 8; the h5py writer of docs/shard-format.md and other programs choose theirs.
  if (!is_ingest_id(index.data_set_id))
    refuse("shards", fmt::format("of data set {}, that no ingest has made", index.data_set_id));
  std::set<std::string> listed;
  for (const IndexedShard& shard : index.shards) listed.insert(shard.file);
  for (const std::string& name : shards) {
    if (!listed.contains(name)) refuse(name, "which is not in its index");
  }
}

}  // namespace triptych::data
