#pragma once

#include <vector>

#include "parallel/pipeline/schedule.h"

namespace triptych {

/// Appends to one stage's list: each computation with the messages around it. A receive stands right before its use, a
/// send right after what it sends.
class StageActions {
 public:
  StageActions(int stage, int num_stages, std::vector<Action>& actions)
      : stage_(stage), num_stages_(num_stages), actions_(actions) {}

  bool is_first() const { return stage_ == 0; }
  bool is_last() const { return stage_ == num_stages_ - 1; }

  void forward(int microbatch) { compute_forward(Action::kForward, microbatch, false); }
  void embed(int microbatch) { compute_forward(Action::kEmbed, microbatch, true); }
  void loss() { add(Action::kLoss, 0, false); }
  void backward(int microbatch) {
    if (!is_last()) add(Action::kRecvGradient, microbatch, false);
    add(Action::kBackward, microbatch, false);
    if (!is_first()) add(Action::kSendGradient, microbatch, false);
  }

 private:
  void compute_forward(Action::Kind kind, int microbatch, bool embed) {
    if (!is_first()) add(Action::kRecvActivation, microbatch, embed);
    add(kind, microbatch, false);
    if (!is_last()) add(Action::kSendActivation, microbatch, embed);
  }
  void add(Action::Kind kind, int microbatch, bool embed) { actions_.push_back({kind, microbatch, stage_, embed}); }

  int stage_, num_stages_;
  std::vector<Action>& actions_;
};

}  // namespace triptych
