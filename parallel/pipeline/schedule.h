#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/rooms.h"

namespace triptych::pipeline {

/// One thing that a rank does for one microbatch on one of its stages. A rank does its actions in the order of its
/// list. A send returns at once (its buffer lives until the message is out); a receive waits.
///
/// Activations go from a stage to stage + 1, gradients to stage - 1. If both stages are on one rank the value is handed
/// over in memory, without an action. All activations from one rank to another go through one channel, all gradients
/// through a second one. A channel keeps the order of what was sent, so a receive, which names the receiving stage, the
/// microbatch and whether it is an embed's, has to name what the channel's next message is.
struct Action {
  enum Kind : uint8_t {
    kForward,         ///< forward, keeps what the backward needs
    kEmbed,           ///< forward without a graph: only the embeddings are kept, on the last stage
    kLoss,            ///< the coupled loss over all microbatches and its seeds dL/d embedding; on the last stage
    kBackward,        ///< dL/d inputs and dL/d weights; frees what the forward kept
    kBackwardInput,   ///< dL/d inputs alone; what the forward kept stays
    kBackwardWeight,  ///< dL/d weights, after kBackwardInput; frees what the forward kept
    kSendActivation,  ///< what kForward or kEmbed gave, to the next stage
    kRecvActivation,  ///< what kForward or kEmbed takes, from the previous stage
    kSendGradient,    ///< what kBackward or kBackwardInput gave, to the previous stage
    kRecvGradient,    ///< what kBackward or kBackwardInput takes, from the next stage
  };
  Kind kind = kForward;
  int microbatch = 0;  ///< 0 for kLoss, which is about all of them
  int stage = 0;       ///< the stage that does it, one of its rank's (a global index)
  bool embed = false;  ///< an activation that goes from a kEmbed to a kEmbed; false for every other kind

  bool operator==(const Action&) const = default;
};

/// `F2`, `E1`, `L`; `B0` is the whole backward, `D0` its input half and `W0` its weight half. Sends and receives name
/// what they pass: `SF2`, `RF2` (activation of F2), `SE1`, `RE1`, `SB0`, `RB0` (gradient). With its stage: `F2@5`.
std::string to_string(const Action& action, bool with_stage = false);

/// How the loss depends on the microbatches.
enum class LossCoupling : uint8_t {
  kSplit,    ///< a sum over microbatches: the last stage evaluates its part in each kForward; there is no kLoss
  kCoupled,  ///< a function of the whole batch (contrastive): every embedding, then kLoss, then every backward.
             ///< Objectives that split may ride along: their part is evaluated in the last stage's kForward, as with
             ///< kSplit, and a microbatch's backward starts from the seeds of both.
};

/// The work of one step, as data: which rank of the pipeline owns each stage, and a list of actions for each rank.
struct Schedule {
  std::string name;
  LossCoupling coupling = LossCoupling::kSplit;
  int num_ranks = 0, num_stages = 0, num_microbatches = 0;
  std::vector<int> rank_of_stage;          ///< [num_stages]; every rank owns at least one stage
  std::vector<std::vector<Action>> ranks;  ///< [num_ranks]

  /// Whether a message lies between `stage` and the next: they are on different ranks. False for the last stage.
  bool crosses_ranks(int stage) const;
};

}  // namespace triptych::pipeline
