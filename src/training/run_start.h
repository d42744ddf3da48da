#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/config_difference.h"
#include "parallel/world.h"
#include "training/run_folder.h"
#include "training/run_inputs.h"

namespace triptych::training {

/// The beginning of a run, new or gone on with: what it reads is opened and held against the checkpoint's, its folder
/// is locked and looked through, and all ranks have the same before them. Nothing is written but the lock until
/// `begin`.
class RunStart {
 public:
  /// Collective; an error is thrown on every rank. The lock is held until this is destroyed.
  RunStart(const RunConfig& config, World& world, const TrainingRequest& request);

  RunInputs& inputs() { return inputs_; }
  /// The checkpoint's step; 0 for a new run.
  int64_t step() const { return step_; }
  /// Where the run stops: training.stop_after or training.steps.
  int64_t end() const { return end_; }
  /// True if the checkpoint is where the run stops: nothing is left to do, and `begin` writes nothing.
  bool is_complete() const { return step_ == end_; }
  /// On rank 0 of a complete run, instead of begin(): a save that was killed before it could name itself in `latest` is
  /// named.
  void name_last_save();
  /// Rank 0 alone, once: run.json, config.toml and what else RunFolder::begin does.
  void begin();
  /// Behind `begin`, of a run that took parameters out of another's checkpoint: init.json.
  void write_init(const std::string& json) const { folder_->write_init(json); }
  /// What to tell before the first step, a line each; of rank 0.
  const std::vector<std::string>& notes() const { return notes_; }
  /// Something more to tell then.
  void add_note(std::string note) { notes_.push_back(std::move(note)); }
  /// Of run.json, after `begin`; empty on other ranks.
  std::string run_id() const { return folder_ ? folder_->run_id() : ""; }

 private:
  void judge_checkpoint(const TrainingRequest& request);

  const RunConfig& config_;
  RunInputs inputs_;
  std::optional<RunFolder> folder_;  // of rank 0
  FolderUse use_ = FolderUse::kNew;
  std::vector<ConfigDifference> changes_;
  std::vector<std::string> notes_;
  int64_t step_ = 0, end_ = 0;
};

}  // namespace triptych::training
