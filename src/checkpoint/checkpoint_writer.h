#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/manifest.h"
#include "checkpoint/tensor_box.h"
#include "parallel/group.h"

namespace triptych::checkpoint {

/// A file that is saved beside the tensors, such as the tokenizer's model. Rank 0's are written.
struct ExtraFile {
  std::string name;  ///< letters, digits, '.', '_' and '-'
  std::string contents;
};

struct SaveResult {
  std::filesystem::path folder;       ///< the committed step folder
  uint64_t bytes = 0;                 ///< of all its files
  std::vector<std::string> removed;   ///< names of older checkpoints that were removed
  std::vector<std::string> warnings;  ///< what went wrong after the commit (an older checkpoint that resists removal)
};

/// Saves checkpoints of one run into `folder` (made if missing), keeping the `keep` newest; 0 keeps all.
///
/// A save is collective: every rank of the group calls it with the same `state`, and the pieces that it owns;
/// over all ranks the pieces of each tensor cover it exactly (a replicated tensor is passed by one rank only). A rank
/// may own several pieces of a tensor.
///
/// Commit: rank 0 makes `step_N.tmp`; each rank writes and syncs its file in it, hashing as it writes; rank 0 writes
/// the manifest last, renames the folder to `step_N`, then `latest` atomically. A process that is killed at any point
/// leaves `latest` naming a whole checkpoint; its temporary folder is removed by the next save. Saving a step that
/// exists replaces it. Older checkpoints are removed only after the new one's manifest and sizes are read back.
///
/// If any rank fails, all throw an AgreedError (of the world's kind for the disk) naming rank and path; the temporary
/// folder is gone and earlier checkpoints are untouched. Data is streamed: no second copy of a tensor is made.
class CheckpointWriter {
 public:
  /// `group`, of the ranks that save together, outlives this.
  CheckpointWriter(std::filesystem::path folder, int64_t keep, Group& group);

  SaveResult save(const RunState& state, std::span<const TensorPiece> pieces,
                  std::span<const ExtraFile> extra_files = {});

 private:
  std::filesystem::path folder_;
  int64_t keep_;
  Group& group_;
};

}  // namespace triptych::checkpoint
