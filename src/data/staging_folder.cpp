#include "data/staging_folder.h"

#include <algorithm>
#include <cerrno>
#include <set>
#include <string_view>

#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "data/class_names.h"
#include "data/index_file.h"
#include "data/shard_format.h"
#include "data/tokenizer.h"

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
         is_shard_name(name);
}

void clear(const fs::path& folder) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (!is_own_name(name) && !is_own_name(finished_name(name))) {
      throw UserError(folder.string(),
                      fmt::format("is where the data set is made, but holds {}. Remove that folder.", name));
    }
  }
  fs::remove_all(folder, error);
}

}  // namespace

StagingFolder::StagingFolder(const fs::path& out) : out_(out), path_(out.string() + ".partial") {
  check_replaceable();
  clear(path_);
  try {
    fs::create_directories(path_);
  } catch (const fs::filesystem_error& error) {
    throw WorldError(path_.string(), fmt::format("cannot be created ({}).", error.code().message()));
  }
}

StagingFolder::~StagingFolder() {
  std::error_code ignored;
  if (!committed_) fs::remove_all(path_, ignored);
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
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

/// rename(2) takes the place of nothing or of an empty folder; an older data set is exchanged in one step where the
/// file system can, and moved aside first where it cannot. Afterwards `path_` holds what is to be removed, if anything.
bool StagingFolder::replace() const {
  if (::rename(path_.c_str(), out_.c_str()) == 0) return true;
  if (errno != ENOTEMPTY && errno != EEXIST) return false;
  if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, out_.c_str(), RENAME_EXCHANGE) == 0) return true;
  if (errno != EINVAL && errno != ENOSYS) return false;
  const std::string aside = out_.string() + ".replaced";
  return ::rename(out_.c_str(), aside.c_str()) == 0 && ::rename(path_.c_str(), out_.c_str()) == 0 &&
         ::rename(aside.c_str(), path_.c_str()) == 0;
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
  for (const auto& entry : fs::directory_iterator(out_, error)) {
    const std::string name = entry.path().filename().string();
    ++num_entries;
    std::error_code ignored;
    const bool is_file = entry.symlink_status(ignored).type() == fs::file_type::regular;
    if (!is_file || (!is_own_name(name) && !is_own_name(finished_name(name)))) {
      refuse(name, "which no ingest has made");
    }
    if (name == kTokenizerName) {
      if (!is_own_tokenizer(entry.path())) refuse(name, "which `triptych tokenizer train` has not made");
      kept_.push_back(name);
    }
    if (is_shard_name(name)) shards.push_back(name);
  }
  if (error) throw WorldError(out_.string(), fmt::format("cannot be listed ({}).", error.message()));
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
