#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "training/run_lock.h"

// What a run finds in run.dir, and what it may do there. A file or folder is taken for a run's by its contents: a
// step's folder by its manifest and files, config.toml by how it begins, metrics.jsonl and evaluations.jsonl by their
// first line, report.html by its head, run.json, init.json, status.json and evaluation.json by their format, a file of
// TensorBoard's events by its first record. Everything else is somebody's, and stays.

namespace triptych::training {

/// How the file begins that tells what a run took out of another's checkpoint.
inline constexpr std::string_view kInitFormat = "triptych-init";

/// run.json: which run a folder is of. Runs of before there was one have none.
struct RunIdentity {
  std::string run_id;   ///< 32 hexadecimal digits, drawn at the start of a new run
  std::string program;  ///< version
  std::string host;
  std::string started;  ///< UTC, for people
  std::string parent;   ///< the checkpoint that a run of another folder gave it; empty for one from the beginning

  static RunIdentity make(const std::string& parent);
};

/// How a run wants to use its folder.
enum class FolderUse {
  kNew,        ///< a run from the beginning, or one that goes on from another folder's checkpoint
  kOverwrite,  ///< the same in place of a run that is there
  kGoOn        ///< from a checkpoint that is there
};

/// The folder of a run while the run has it: of rank 0 alone. The lock is held until this is destroyed.
class RunFolder {
 public:
  /// Locks the folder (run_lock.h), and `checkpoints` too where that is a link, since other folders may have the same.
  explicit RunFolder(std::filesystem::path dir);

  /// Throws UserError if something that no run wrote stands where a run writes, naming all of it; and for a new run, if
  /// there is a checkpoint, under a step's name or another.
  void require_usable(FolderUse use) const;

  /// What a run that goes on had been.
  struct EarlierConfig {
    std::string config;  ///< the checkpoint's
    int64_t step = 0;
    bool is_changed = false;  ///< in any key
  };
  /// Begins to write: removes the run that is replaced (kOverwrite), makes `checkpoints`, keeps the config of the
  /// steps before, and writes run.json and config.toml. To be called once, after require_usable.
  ///   config  the effective config
  ///   parent  the checkpoint of another folder that the run goes on from; empty: none
  ///   then    of that checkpoint, or of this folder's
  /// Returns what to tell.
  std::vector<std::string> begin(FolderUse use, const std::string& config, const std::string& parent,
                                 const std::optional<EarlierConfig>& then);

  /// Writes init.json, after `begin`.
  void write_init(const std::string& json) const;

  /// Of run.json; empty before `begin` if there was none.
  const std::string& run_id() const { return run_id_; }
  /// What to tell of locks that were taken over.
  std::vector<std::string> notes() const;

 private:
  void remove_run() const;
  std::vector<std::string> keep_config(const std::string& text, int64_t step) const;

  std::filesystem::path dir_, checkpoints_;
  RunLock lock_;
  std::optional<RunLock> checkpoints_lock_;
  std::string run_id_;
};

/// When the run of the folder began, of run.json: "2026-03-01T12:00:00Z"; empty if there is none.
std::string started_of_run(const std::filesystem::path& dir);

/// Throws UserError if there is a report.html in the folder, or a evaluation.json or status.json, that no run wrote.
void require_report_of_ours(const std::filesystem::path& dir);

}  // namespace triptych::training
