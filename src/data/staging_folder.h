#pragma once

#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::data {

/// The folder in which a data set is made, beside `out`, which it becomes when it is complete. It may hold what an
/// interrupted run has left; a lock on it keeps a second ingest out.
///
/// Only what is provably of this program is ever replaced: nothing, an empty folder, or a data set that an ingest made:
/// its index, the shards that this index lists, class names, what was left out, unfinished files of those names. A
/// tokenizer that was trained there is carried over.
class StagingFolder {
 public:
  /// Throws UserError that names what is in the way or that another ingest is at work there, WorldError if the folder
  /// cannot be made.
  explicit StagingFolder(const std::filesystem::path& out);
  /// Removes the folder if it was neither committed nor to be kept.
  ~StagingFolder();
  StagingFolder(const StagingFolder&) = delete;
  StagingFolder& operator=(const StagingFolder&) = delete;

  const std::filesystem::path& path() const { return path_; }

  /// Removes what an earlier run left, but for these files; true if there was something to remove.
  bool remove_all_but(const std::set<std::string>& names) const;
  /// Leaves the folder where it is at the end, so that a later run can go on.
  void keep() { keeps_ = true; }

  /// Puts the folder in the place of `out`. An older data set goes only after the new one is there.
  void commit();
  /// Names of the older folder's files that are in the new one: tokenizers.
  const std::vector<std::string>& kept() const { return kept_; }

 private:
  void check_replaceable();
  void take_lock();
  bool replace() const;

  std::filesystem::path out_, path_;
  std::vector<std::string> kept_;
  int lock_ = -1;  // a descriptor of the folder
  bool committed_ = false, keeps_ = false;
};

}  // namespace triptych::data
