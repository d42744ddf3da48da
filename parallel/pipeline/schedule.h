#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace triptych {

/// One thing that a stage does for one microbatch. A stage does its actions in the order of its list. A send returns at
/// once (its buffer lives until the message is out); a receive waits.
///
/// Messages between two neighbours in one direction arrive in the order in which they were sent, so a receive has to
/// name what the next message is. Activations go to stage + 1, gradients to stage - 1.
struct Action {
  enum Kind : uint8_t {
    kForward,         ///< forward, keeps what the backward needs
    kEmbed,           ///< forward without a graph: only the embeddings are kept, on the last stage
    kLoss,            ///< the loss over all microbatches at once and its seeds dL/d embedding; the last stage only
    kBackward,        ///< backward; frees what the forward kept
    kSendActivation,  ///< what kForward or kEmbed gave, to the next stage
    kRecvActivation,  ///< what kForward or kEmbed takes, from the previous stage
    kSendGradient,    ///< what kBackward gave, to the previous stage
    kRecvGradient,    ///< what kBackward takes, from the next stage
  };
  Kind kind = kForward;
  int microbatch = 0;  ///< 0 for kLoss, which is about all of them
  int stage = 0;       ///< the stage that does it (a global index)
  bool embed = false;  ///< an activation that goes from a kEmbed to a kEmbed; false for every other kind

  bool operator==(const Action&) const = default;
};

/// `F2`, `E1`, `L`, `B0`; sends and receives name what they pass: `SF2`, `RF2` (activation of F2), `SE1`, `RE1`,
/// `SB0`, `RB0` (gradient).
std::string to_string(const Action& action);

/// How the loss depends on the microbatches.
enum class LossCoupling : uint8_t {
  kSplit,    ///< a sum over microbatches: the last stage evaluates its part in each forward; there is no kLoss
  kCoupled,  ///< one function of the whole batch (contrastive): every forward, then kLoss, then every backward
};

enum class ScheduleKind : uint8_t { kGPipe, k1F1B };

/// "gpipe", "1f1b". The parsing throws UserError on another word.
std::string_view schedule_kind_name(ScheduleKind kind);
ScheduleKind parse_schedule_kind(std::string_view name);

/// The work of one step, as data: a list of actions for each stage.
struct Schedule {
  ScheduleKind kind = ScheduleKind::kGPipe;
  LossCoupling coupling = LossCoupling::kSplit;
  int num_stages = 0, num_microbatches = 0;
  std::vector<std::vector<Action>> stages;  ///< [num_stages]
};

/// The most stages and microbatches of a schedule: bounds what a mistyped number can allocate.
inline constexpr int kMaxStages = 1024, kMaxMicrobatches = 65536;
inline constexpr int64_t kMaxScheduleCells = int64_t{1} << 20;  ///< num_stages * num_microbatches

/// The schedule of one step. p stages, m microbatches, equal costs and f forward, b backward:
///
///   kGPipe            all forwards, then all backwards. Bubble (p-1)/(m+p-1); every stage keeps m activations. With a
///                     coupled loss the same, kLoss between the two on the last stage.
///   k1F1B, kSplit     one backward as soon as it can be. Bubble (p-1)/(m+p-1); stage s keeps min(m, p-s) activations.
///   k1F1B, kCoupled   kEmbed of all microbatches, kLoss, then as above: keeps min(m, p-s) activations too, at the
///   price
///                     of a second forward. The forwards of the first backwards start while the loss is still pending.
///
/// Throws UserError if there is no stage or no microbatch, or the limits above are passed.
/// Sources: Huang et al. 2019, GPipe; Narayanan et al. 2021, Efficient large-scale language model training on GPU
/// clusters, section 2.2.1; the embedding pass is Gao et al. 2021, Scaling deep contrastive learning batch size under
/// memory limited setup.
Schedule make_schedule(ScheduleKind kind, int num_stages, int num_microbatches, LossCoupling coupling);

// The two generators, one file each; `make_schedule` checks the sizes and calls them.
Schedule gpipe(int num_stages, int num_microbatches, LossCoupling coupling);
Schedule one_f_one_b(int num_stages, int num_microbatches, LossCoupling coupling);

}  // namespace triptych
